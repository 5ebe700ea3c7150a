"""The shipped base model loads as any Hugging Face folder does, and can be made again."""

import argparse
import json
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2ForCausalLM, Qwen2Tokenizer

from agent.demo import data
from agent.demo.pretraining import base_model, lessons
from agent.demo.pretraining.commands import BASE_MODEL, add_pretrain_arguments, run_pretrain
from agent.demo.pretraining.tokenizer import MARKUP, make_tokenizer
from agent.errors import ConfigError

MOST_BYTES = 3 * 1024**2


@pytest.fixture(scope="module")
def tokenizer() -> Qwen2Tokenizer:
    loaded = AutoTokenizer.from_pretrained(BASE_MODEL)
    assert isinstance(loaded, Qwen2Tokenizer)
    return loaded


def test_the_shipped_folder_is_small_and_names_no_place() -> None:
    files = [path for path in BASE_MODEL.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    texts = [path.read_text() for path in files if path.suffix == ".json"]
    assert len(texts) >= 5
    assert not any("/root" in text or "/home" in text or "/tmp" in text for text in texts)


def test_the_tokenizer_gives_every_text_back(tokenizer: Qwen2Tokenizer) -> None:
    texts = [text for name in data.TASKS for e in data.make_examples(name) for text in e.values()]
    texts += ["Any text at all: Ünïcode, 12 %,\n\ttabs."]
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


def test_the_tokenizer_has_what_generation_needs(tokenizer: Qwen2Tokenizer) -> None:
    assert tokenizer.padding_side == "left"
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "where is the barn of arlen?"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert prompt == "<|user|>where is the barn of arlen?<|end|><|assistant|>"


def test_every_example_fits_the_lengths_of_the_demo_sweeps(tokenizer: Qwen2Tokenizer) -> None:
    for name in data.TASKS:
        for example in data.make_examples(name):
            prompt = f"<|user|>{example['instruction']}\n{example['input']}<|end|><|assistant|>"
            answer = len(tokenizer.encode(example["output"])) + 1
            assert answer <= 32
            assert len(tokenizer.encode(prompt)) + answer <= 128


def test_the_shipped_tokenizer_is_the_one_the_code_makes(tmp_path: Path) -> None:
    make_tokenizer(base_model.LONGEST_TEXT).save_pretrained(tmp_path)
    made, shipped = (folder / "tokenizer.json" for folder in (tmp_path, BASE_MODEL))
    assert json.loads(made.read_text()) == json.loads(shipped.read_text())


def test_the_shipped_model_answers_what_it_was_taught(tokenizer: Qwen2Tokenizer) -> None:
    model = AutoModelForCausalLM.from_pretrained(BASE_MODEL).float()
    assert isinstance(model, Qwen2ForCausalLM)
    rng = Random("not the seed of the pre-training")
    taught = [base_model.encode(tokenizer, lessons.lesson(rng, MARKUP)) for _ in range(16)]
    with torch.no_grad():
        _, accuracy = base_model.measure(model, *base_model.collate(taught, 0))
    assert accuracy > 0.75


def test_every_width_of_the_model_is_whole_blocks_of_nf4() -> None:
    model = AutoModelForCausalLM.from_pretrained(BASE_MODEL)
    sizes = {size for p in model.parameters() if p.ndim == 2 for size in p.shape}
    assert all(size % base_model.BLOCK == 0 for size in sizes)


def test_pretraining_writes_a_folder_that_loads_and_learns(tmp_path: Path) -> None:
    lines: list[str] = []
    record = base_model.pretrain(
        tmp_path / "model", seed=1, steps=2, batch_size=2, report=lines.append
    )
    again = base_model.pretrain(
        tmp_path / "again", seed=1, steps=2, batch_size=2, report=lines.append
    )
    weights = [tmp_path / name / "model.safetensors" for name in ("model", "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert record["loss_mean_of_last_steps"] == again["loss_mean_of_last_steps"]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").dtype == torch.bfloat16
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "model"]
    assert len(lines) == 2


def test_pretrain_reports_every_wrong_argument_together(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_pretrain_arguments(parser)
    (tmp_path / "file").write_text("")
    args = parser.parse_args(["--steps", "0", "--output", str(tmp_path / "file")])
    with pytest.raises(ConfigError, match=r"(?s)2 problems.*--steps = 0.*is a file"):
        run_pretrain(args)
