"""The shipped sweeps on documents as long as LongRefiner's: a perfect model scores 1, and limits
that would lose its answers are refused before anything is trained."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from agent.cli import main as cli
from agent.config import sweep_yaml
from agent.config.run_config import RunConfig
from agent.evaluation import deployments, generation, validation
from agent.training import data, prompts, task_counts
from tests.evaluation.longrefiner_samples import LENGTHS, make_samples

SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))
STEP2 = Path(__file__).parents[2] / "sweeps/examples/longrefiner_step2.yaml"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Byte pairs of the documents themselves: two to three tokens for a word, which is more than
    a tokenizer of a real model needs for English."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<end>"], initial_alphabet=alphabet
    )
    made.train_from_iterator([sample["input"] for sample in make_samples()], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", pad_token="<end>")


@pytest.fixture
def step2(tmp_path: Path) -> Path:
    path = tmp_path / "step2_doc-structuring.json"
    path.write_text(json.dumps(make_samples()))
    return path


def perfect_scores(
    config: RunConfig, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> validation.Scores:
    """The scores of a model that says what the references say, as far as the limits let it."""
    examples = data.read(config.dataset)
    golds = {
        tuple(prompts.prompt_ids(tokenizer, e.messages)): prompts.answer_ids(
            tokenizer, e.answers[0]
        )
        for e in examples
    }

    def say(_: Any, __: Any, asked: Any, *, max_new_tokens: int, **___: Any) -> list[Any]:
        said = [golds[tuple(prompt)][:max_new_tokens] for prompt in asked]
        return [generation._answer(tokenizer, ids, {tokenizer.eos_token_id}) for ids in said]

    monkeypatch.setattr(deployments, "deploy", lambda *_: torch.nn.Linear(1, 1))
    monkeypatch.setattr(deployments, "model_size_gb", lambda _: 1.0)
    monkeypatch.setattr(generation, "generate", say)
    base: Any = SimpleNamespace(tokenizer=tokenizer, device=torch.device("cpu"))
    return validation.score_adapter(config, base, None, examples)


@pytest.mark.parametrize("sweep", [*SWEEPS, STEP2], ids=lambda path: path.stem)
def test_a_perfect_model_scores_1_under_the_shipped_limits(
    sweep: Path, step2: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = sweep_yaml.configs(sweep_yaml.load(sweep))[0]
    config = shipped.model_copy(update={"dataset": str(step2)})
    scores = perfect_scores(config, tokenizer, monkeypatch)
    metrics = scores.metrics()
    assert (len(scores.predictions), scores.too_long) == (len(LENGTHS), 0)
    assert (metrics["f1_score"], metrics["accuracy"], metrics["cut_share"]) == (1.0, 1.0, 0.0)
    counts = task_counts.of_tokens(config, tokenizer, data.load(config), None)
    assert [(c.too_long, c.not_scored, c.cut, c.problem(config)) for c in counts] == [
        (0, 0, 0, None)
    ]


def test_the_limits_of_short_answers_would_lose_most_documents_and_are_refused(
    step2: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = sweep_yaml.configs(sweep_yaml.load(SWEEPS[0]))[0]
    short = {"dataset": str(step2), "max_length_by_task": {}, "max_new_tokens_by_task": {}}
    config = shipped.model_copy(update=short)
    assert len(perfect_scores(config, tokenizer, monkeypatch).predictions) <= 3
    (counts,) = task_counts.of_tokens(config, tokenizer, data.load(config), None)
    assert counts.too_long >= 5
    assert "leaves out more than max_left_out_share" in str(counts.problem(config))
    long = config.model_copy(update={"max_length": 25000})
    (counts,) = task_counts.of_tokens(long, tokenizer, data.load(long), None)
    assert (counts.too_long, counts.cut) == (0, 1)
    assert "cuts more than max_left_out_share = 0.02 of the task; raise max_new_tokens = 256" in (
        str(counts.problem(long))
    )


def test_check_refuses_them_without_the_bases_tokenizer(
    step2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SWEEPS[0].read_text().replace("data/longrefiner_train.json", str(step2))
    long, short = tmp_path / "long.yaml", tmp_path / "short.yaml"
    long.write_text(text)
    short.write_text("".join(x for x in text.splitlines(True) if "_by_task" not in x))
    assert cli(["check", str(long)]) == 0
    said = capsys.readouterr().out
    assert "document_structuring: 0 of 9 examples exceed max_length = 25000" in said
    assert cli(["check", str(short)]) == 2
    said = capsys.readouterr().err
    assert "leaves out more than max_left_out_share = 0.02 of the task" in said


def test_check_counts_with_a_tokenizer_that_was_downloaded_before(
    step2: Path,
    tmp_path: Path,
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cached = tmp_path / "hub/models--Qwen--Qwen2.5-3B-Instruct"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs/main").write_text("c0ffee")
    tokenizer.backend_tokenizer.save(str(_made(cached / "snapshots/c0ffee") / "tokenizer.json"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(SWEEPS[0].read_text().replace("data/longrefiner_train.json", str(step2)))
    assert cli(["check", str(sweep)]) == 0
    (line,) = [x for x in capsys.readouterr().out.split("\n") if "exceed max_length" in x]
    assert line.endswith("counted without the chat template")
    config = sweep_yaml.configs(sweep_yaml.load(sweep))[0]
    (counts,) = task_counts.of_tokens(config, tokenizer, data.load(config), None)
    assert f"(the longest has {counts.longest - 1} tokens)" in line  # a line break between the two


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
