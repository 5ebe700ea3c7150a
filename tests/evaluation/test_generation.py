"""Greedy answers: the same tokens in any batch, stopped at the end, independent of a checkpoint's
own sampling defaults."""

from pathlib import Path
from typing import Any

import pytest
import torch

from agent.errors import SweepAgentError
from agent.evaluation import generation
from agent.training import base_model as bases
from agent.training import data, prompts
from agent.training.base_model import Base
from tests.training import lab


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    config = lab.make_config(tmp_path_factory.mktemp("base"), compute_dtype="float32")
    return bases.load(config, lab.BASE_MODEL, "16bit", torch.device("cpu"))


@pytest.fixture(scope="module")
def encoded(base: Base, tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    folder = lab.write_examples(tmp_path_factory.mktemp("data"), per_task=8)
    return [prompts.prompt_ids(base.tokenizer, e.messages) for e in data.read(str(folder))]


def answer(base: Base, encoded: list[list[int]], batch_size: int, **options: Any) -> list[Any]:
    options = {"max_new_tokens": 20, **options}
    return generation.generate(
        base.model, base.tokenizer, encoded, batch_size=batch_size, **options
    )


def test_a_batch_answers_as_one_by_one(base: Base, encoded: list[list[int]]) -> None:
    alone = answer(base, encoded, 1)
    assert answer(base, encoded, 24) == alone
    assert answer(base, encoded, 5) == alone
    assert len({a.text for a in alone}) > 3  # there is something to get wrong
    assert len({len(ids) for ids in encoded}) > 3


def test_answers_come_in_the_order_of_the_prompts(base: Base, encoded: list[list[int]]) -> None:
    forward = answer(base, encoded, 8)
    assert answer(base, encoded[::-1], 8)[::-1] == forward


def test_the_end_token_stops_and_the_limit_cuts(base: Base, encoded: list[list[int]]) -> None:
    for said in answer(base, encoded, 24, max_new_tokens=6):
        assert (said.finish == "length") == (said.tokens_out == 6 and said.finish != "stop")
        assert 1 <= said.tokens_out <= 6
    whole = answer(base, encoded, 24, max_new_tokens=60)
    assert {a.finish for a in whole} == {"stop"}
    assert all(a.text == a.text.strip() for a in whole)


def test_a_checkpoints_own_sampling_defaults_do_not_matter(
    base: Base, encoded: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import GenerationConfig

    expected = answer(base, encoded, 8)
    wild = GenerationConfig(do_sample=True, temperature=3.0, repetition_penalty=2.0)
    monkeypatch.setattr(base.model, "generation_config", wild)
    assert answer(base, encoded, 8) == expected


def test_every_end_token_that_a_checkpoint_names_ends_an_answer(
    base: Base, encoded: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import GenerationConfig

    first = base.tokenizer(answer(base, encoded[:1], 1)[0].text)["input_ids"][0]
    ends = GenerationConfig(eos_token_id=[first, base.tokenizer.eos_token_id])
    monkeypatch.setattr(base.model, "generation_config", ends)
    assert answer(base, encoded[:1], 1) == [generation.Answer("", 1, "stop")]


def test_generation_looks_at_the_flag_between_batches(base: Base, encoded: list[list[int]]) -> None:
    calls: list[int] = []

    def stop_at_second() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise SweepAgentError("stopped")

    with pytest.raises(SweepAgentError, match="stopped"):
        answer(base, encoded, 4, check_interruption=stop_at_second)
    assert len(calls) == 2


def test_the_embedding_of_padding_never_shows(base: Base, encoded: list[list[int]]) -> None:
    short, long = min(encoded, key=len), max(encoded, key=len)
    assert answer(base, [short, long], 2)[0] == answer(base, [short], 1)[0]
    assert Path(lab.BASE_MODEL).is_dir()


def test_the_tokens_are_those_of_transformers_own_greedy_generation(
    base: Base, encoded: list[list[int]]
) -> None:
    from transformers import GenerationConfig

    tokenizer = base.tokenizer
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=20,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model: Any = base.model
    for ids, said in zip(encoded, answer(base, encoded, 24), strict=True):
        whole = model.generate(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            generation_config=settings,
        )[0]
        assert said.tokens_out == len(whole) - len(ids)
        assert said.text == tokenizer.decode(whole[len(ids) :], skip_special_tokens=True).strip()
