"""Greedy answers: the same tokens in any batch, stopped at the end, independent of a checkpoint's
own sampling defaults."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from agent.errors import ModelTooLarge, SweepAgentError
from agent.evaluation import generation
from agent.training import base_model as bases
from agent.training import data, prompts
from agent.training.base_model import Base
from tests.training import lab
from tests.training.architectures import VOCABULARY, make_model


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


def test_generation_looks_at_the_flag_before_every_token(
    base: Base, encoded: list[list[int]]
) -> None:
    calls: list[int] = []

    def stop_at_third() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise SweepAgentError("stopped")

    with pytest.raises(SweepAgentError, match="stopped"):
        answer(base, encoded, 24, check_interruption=stop_at_third)
    assert len(calls) == 3  # within the one batch there is


def test_a_long_prompt_goes_through_in_pieces_and_is_answered_the_same(
    base: Base, encoded: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: list[int] = []
    expected = answer(base, encoded, 8, check_interruption=lambda: whole.append(1))
    monkeypatch.setattr(generation, "PREFILL_TOKENS", 8 * 5)  # five columns at a time
    pieces: list[int] = []
    assert answer(base, encoded, 8, check_interruption=lambda: pieces.append(1)) == expected
    columns = [
        max(len(encoded[i]) for i in batch)
        for batch in generation.make_batches([len(ids) for ids in encoded], 8, 20)
    ]
    assert len(pieces) - len(whole) == sum(-(-n // 5) - 1 for n in columns)


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2", "gpt2", "granite"])
def test_other_architectures_say_what_transformers_own_generation_says(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sliding windows among them, whose cache keeps a window only."""
    from transformers import GenerationConfig

    model = make_model(kind).eval()
    rng = Random(0)
    asked = [[rng.randrange(5, VOCABULARY) for _ in range(n)] for n in (9, 14, 3)]
    settings = GenerationConfig(do_sample=False, max_new_tokens=12, pad_token_id=0, eos_token_id=[])
    expected = [
        model.generate(torch.tensor([ids]), generation_config=settings)[0, len(ids) :].tolist()
        for ids in asked
    ]
    for at_once in (8192, 3):
        monkeypatch.setattr(generation, "PREFILL_TOKENS", at_once)
        said = [
            generation._continue_greedily(model, 0, batch, {-1}, 12, lambda: None)
            for batch in (asked, *([ids] for ids in asked))
        ]
        assert [said[0], [*said[1], *said[2], *said[3]]] == [expected, expected]


def test_the_head_reads_rows_without_gaps_while_answers_are_made(
    base: Base, encoded: list[list[int]]
) -> None:
    """Those of a longer prompt's last position have gaps, which cost a copy of the head per row."""
    head: Any = base.model.get_output_embeddings()
    read: list[bool] = []
    forward = head.forward

    def watch(hidden: torch.Tensor) -> torch.Tensor:
        read.append(hidden.is_contiguous())
        found: torch.Tensor = forward(hidden)
        return found

    head.__dict__["forward"] = watch
    try:
        answer(base, encoded, 24)
    finally:
        del head.__dict__["forward"]
    assert len(read) > 3
    assert all(read)
    assert not head._forward_pre_hooks


def test_of_equally_likely_tokens_the_first_is_taken() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 999, generator=generator).mul(2).round().to(torch.bfloat16)
    rows: list[list[float]] = logits.tolist()
    assert generation.most_likely(logits).tolist() == [row.index(max(row)) for row in rows]


def test_batches_hold_the_longest_first_within_a_budget_of_tokens() -> None:
    lengths = [10, 300, 20, 290, 15, 12]
    assert generation.make_batches(lengths, 4, 10) == [[1, 3, 2, 4], [5, 0]]
    assert generation.make_batches(lengths, 4, 10, 640) == [[1, 3], [2, 4, 5, 0]]
    assert generation.make_batches(lengths, 4, 10, 100) == [[1], [3], [2, 4, 5], [0]]


def short_of_memory(monkeypatch: pytest.MonkeyPatch, fits: int) -> list[int]:
    """A device that holds `fits` rows; the sizes of the batches that were tried."""
    tried: list[int] = []
    continue_greedily = generation._continue_greedily

    def limited(model: Any, pad: int, rows: Any, *rest: Any) -> Any:
        tried.append(len(rows))
        if len(rows) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return continue_greedily(model, pad, rows, *rest)

    monkeypatch.setattr(generation, "_continue_greedily", limited)
    return tried


def test_a_batch_that_does_not_fit_is_halved_and_answers_the_same(
    base: Base, encoded: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answer(base, encoded, 24)
    tried = short_of_memory(monkeypatch, fits=7)
    assert answer(base, encoded, 1, token_budget=10**6) == expected
    assert tried == [24, 12, 6, 6, 12, 6, 6]


def test_one_prompt_that_does_not_fit_says_what_to_lower(
    base: Base, encoded: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    short_of_memory(monkeypatch, fits=0)
    with pytest.raises(ModelTooLarge, match=r"one prompt of \d+ tokens .* lower max_length"):
        answer(base, encoded, 1, token_budget=10**6)


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
