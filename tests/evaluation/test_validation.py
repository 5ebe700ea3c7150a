"""Scores of an evaluation point: made once, read afterwards, complete for every example."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent.errors import DataError
from agent.evaluation import generation, validation
from agent.evaluation.validation import METRICS, Prediction, Scores
from agent.training import base_model, prompts
from agent.training.data_formats import Example
from tests.training import lab


def prediction(name: str, score: float, **values: Any) -> Prediction:
    defaults = {
        "task": "qa",
        "dataset": "nq",
        "prompt_hash": "h",
        "output": "x",
        "gold": ("x",),
        "exact": score,
        "substring": score,
        "tokens_out": 3,
        "finish": "stop",
    }
    return Prediction(example_id=name, score=score, **{**defaults, **values})


def test_the_mean_over_data_sets_counts_each_the_same() -> None:
    rows = [prediction(f"a{i}", 1.0) for i in range(9)]
    rows.append(prediction("b", 0.0, dataset="hotpotqa"))
    scores = Scores(tuple(rows), 0.1, 1.0)
    assert scores.f1_by_dataset() == {"hotpotqa": 0.0, "nq": 1.0}
    assert scores.metrics() == {
        "f1_score": 0.9,
        "accuracy": 0.9,
        "avg_f1": 0.5,
        "f1_hotpotqa": 0.0,
        "f1_nq": 1.0,
        "substring_accuracy": 0.9,
        "cut_share": 0.0,
        "tokens_out": 3.0,
    }


def test_a_metric_that_does_not_apply_is_absent_not_0() -> None:
    rows = (prediction("a", 1.0, task="query_analysis", substring=None, finish="length"),)
    metrics = Scores(rows, 0.1, 1.0).metrics()
    assert "substring_accuracy" not in metrics
    assert metrics["query_analysis_macro_f1"] == 1.0
    assert metrics["cut_share"] == 1.0


def test_an_answer_is_scored_with_everything_that_explains_it() -> None:
    example = Example("q1", "qa", "nq", (("user", "Who?"),), ("Ada", "Lovelace"))
    said = generation.Answer("ada lovelace", 4, "length")
    row = validation.score_answer(example, [1, 2, 3], said)
    assert row == Prediction(
        "q1",
        "qa",
        "nq",
        validation.hash_prompt([1, 2, 3]),
        "ada lovelace",
        ("Ada", "Lovelace"),
        2 / 3,
        0.0,
        1.0,
        4,
        "length",
        prompt="Who?",
    )
    assert len(validation.shortened("x" * 5000)) < 1010


def test_scores_written_are_scores_read(tmp_path: Path) -> None:
    rows = (prediction("a", 0.5), prediction("b", 1.0, output='say "é"\n\u2028end'))
    validation.write_scores(tmp_path, Scores(rows, 0.25, 2.0))
    read = validation.read_scores(tmp_path)
    assert (read.predictions, read.model_size_gb, read.seconds) == (rows, 0.25, 2.0)
    lines = (tmp_path / "predictions.jsonl").read_text().split("\n")[:-1]
    assert [json.loads(line)["example_id"] for line in lines] == ["a", "b"]


# ------------------------------------------------------------------ on a real training
@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def score_all(root: Path, **values: Any) -> tuple[Any, list[Scores]]:
    training = lab.open_training(root, values)
    return training, [validation.score_point(training, p) for p in training.points()]


def test_a_re_run_reads_its_scores_and_loads_no_model(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, first = score_all(root)
    assert "base" in training.__dict__
    assert len(first[0].predictions) == len(training.data.validation)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a re-run must not generate")

    monkeypatch.setattr(validation, "score_adapter", refuse)
    again, second = score_all(root)
    assert "base" not in again.__dict__
    assert [s.predictions for s in second] == [s.predictions for s in first]
    assert second[1].predictions_file.is_file()

    with pytest.raises(AssertionError, match="must not generate"):
        score_all(root, max_new_tokens=9)  # other questions need other answers


def test_what_is_too_long_to_be_trained_on_is_not_asked_either(root: Path) -> None:
    """The same rule: the prompt, its answer and the end token."""
    training = lab.open_training(root)
    asked = training.data.validation
    lengths = sorted(
        len(prompts.prompt_ids(training.tokenizer, e.messages))
        + len(prompts.answer_ids(training.tokenizer, e.answers[0]))
        for e in asked
    )
    middle = lengths[len(lengths) // 2]
    kept = sum(n <= middle for n in lengths)
    values = {"max_length": middle, "epochs": 1}
    training, (scores,) = score_all(root, **values)
    assert (len(scores.predictions), scores.too_long) == (kept, len(asked) - kept)
    assert scores.directory is not None
    assert validation.read_scores(scores.directory).too_long == len(asked) - kept


def test_when_everything_is_too_long_it_says_what_to_raise(root: Path) -> None:
    config = lab.make_config(root, max_length=8, max_new_tokens=4)
    training = lab.open_training(root)
    with pytest.raises(DataError, match=r"none of the \d+ examples .* max_length = 8 tokens"):
        validation.within_length(config, training.tokenizer, training.data.validation)


def test_examples_are_read_by_the_tokenizer_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, training = lab.make_config(root), lab.open_training(root)
    asked = training.data.validation
    first = validation.within_length(config, training.tokenizer, asked)
    wanted = [prompts.prompt_ids(training.tokenizer, e.messages) for e in first[0]]
    assert [list(ids) for ids in first[1]] == wanted

    def refuse(*_: Any) -> Any:
        raise AssertionError("must not read it again")

    monkeypatch.setattr(prompts, "prompt_ids", refuse)
    assert validation.within_length(config, training.tokenizer, asked) == first
    with pytest.raises(AssertionError, match="must not read it again"):
        validation.within_length(config, base_model.load_tokenizer(lab.BASE_MODEL), asked)


def test_scores_do_not_depend_on_the_batch(root: Path) -> None:
    """In fp32 and without quantisation, where a row of a batch is computed as it would be alone."""
    exact = {"compute_dtype": "float32", "lora_dropout": 0.0, "epochs": 1}
    found = [
        score_all(root, eval_batch_size=size, **exact)[1][0].predictions for size in (1, 3, 64)
    ]
    assert found[0] == found[1] == found[2]
    assert len({p.output for p in found[0]}) > 1


def test_damaged_scores_are_made_again(root: Path) -> None:
    _, first = score_all(root)
    file = first[1].predictions_file
    file.write_text(file.read_text().replace('"score": 0', '"score": 1', 1)[:-9])
    _, second = score_all(root)
    assert second[1].predictions == first[1].predictions


def test_the_five_cells_ask_the_same_questions_and_keep_their_scores_apart(root: Path) -> None:
    asked, places = set(), set()
    for variant, strategy in lab.CELLS:
        values = {
            "model_variant": variant,
            "quantization_strategy": strategy,
            "epochs": 1,
            "eval_examples": 4,
        }
        training, (scores,) = score_all(root, **values)
        rows = scores.predictions
        asked.add(tuple((p.example_id, p.prompt_hash, p.gold) for p in rows))
        places.add(scores.directory)
        identity = validation.identity(training)
        assert identity["hardware/gpu"] == "cpu"
    assert len(asked) == 1
    assert len(places) == 5


def test_every_metric_has_a_name_that_can_be_logged() -> None:
    assert all(name.isidentifier() for name in METRICS)
