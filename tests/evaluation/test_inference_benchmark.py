"""The measurement on a clock of its own, so that every time is known exactly."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from agent.evaluation import inference_benchmark
from agent.evaluation.inference_benchmark import TimedAnswer
from agent.evaluation.query_flops import QueryFlops
from agent.evaluation.served_model import ServedModel
from agent.training import device_memory

END = 1
PROMPTS = [[5] * 4, [6] * 4, [7] * 6, [8] * 4]
COLD_S, PREFILL_S, TOKEN_S = 3.0, 0.010, 0.002


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


class FakeModel(nn.Module):
    """Takes 10 ms for a prompt and 2 ms for a further token, 3 s more on the very first call, and
    answers with as many tokens as the prompt has, the end token last."""

    def __init__(self, clock: Clock, fits: int = 1000) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.clock, self.fits = clock, fits
        self.rows: list[int] = []  # of every call

    config = None

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any
    ) -> SimpleNamespace:
        rows, width = input_ids.shape
        said = attention_mask.shape[1] - width
        if said == 0:
            if rows > self.fits:
                raise torch.OutOfMemoryError("no room")
            self.clock.now += PREFILL_S + (0 if self.rows else COLD_S)
            self.rows.append(rows)
            self.prompt_length = width
        else:
            self.clock.now += TOKEN_S
            said += 1 - self.prompt_length
        token = END if said + 1 == self.prompt_length else 9
        logits = nn.functional.one_hot(torch.full((rows, 1), token), 10)
        return SimpleNamespace(logits=logits)


class FakeTokenizer:
    eos_token_id, pad_token_id = END, 0

    def decode(self, *_: Any, **__: Any) -> str:
        return ""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr(inference_benchmark, "time", own)
    monkeypatch.setattr(
        inference_benchmark, "gc", SimpleNamespace(collect=lambda: None)
    )  # slow beside torch
    return own


def served_by(model: FakeModel) -> ServedModel:
    shape = QueryFlops(1000, 0, 100, layers=1, attention_width=10)
    return ServedModel(model, FakeTokenizer(), torch.device("cpu"), shape, 0.5, 2.0)


def measure(model: FakeModel, **options: Any) -> dict[str, float | None]:
    return inference_benchmark.measure(served_by(model), PROMPTS, max_new_tokens=8, **options)


def test_each_query_has_a_limit_of_its_own(clock: Clock) -> None:
    model = FakeModel(clock)
    limits = [1, 2, 3, 4]
    timed = inference_benchmark.time_queries(served_by(model), PROMPTS[:4], limits)
    assert [t.tokens_out for t in timed] == limits


def test_times_are_those_of_single_queries_after_the_warm_up(clock: Clock) -> None:
    model = FakeModel(clock)
    values = measure(model, batch_sizes=(1,))
    usual_ms, long_ms = 10 + 3 * 2, 10 + 5 * 2
    assert values["inference/avg_latency_ms_per_sample"] == pytest.approx(
        (3 * usual_ms + long_ms) / 4
    )
    assert values["inference/p50_latency_ms"] == pytest.approx(usual_ms)
    assert values["inference/p95_latency_ms"] == pytest.approx(usual_ms + 0.85 * 4)
    assert values["inference/time_to_first_token_ms"] == pytest.approx(10)
    assert values["inference/time_per_output_token_ms"] == pytest.approx(2)
    assert values["inference/tokens_in"] == values["inference/tokens_out"] == 4.5
    assert values["inference/queries"] == 4
    assert model.rows == [1] * (inference_benchmark.WARMUP_QUERIES + 4)


def test_throughput_is_measured_in_full_batches(clock: Clock) -> None:
    model = FakeModel(clock)
    values = measure(model, batch_sizes=(1, 2, 8))
    assert values["inference/throughput_samples_per_sec_b1"] == pytest.approx(4 / 0.068)
    assert values["inference/throughput_samples_per_sec_b2"] == pytest.approx(4 / (0.016 + 0.020))
    assert values["inference/throughput_samples_per_sec_b8"] == pytest.approx(8 / 0.020)
    assert model.rows[7:] == [2, 2, 2, 8, 8]  # a warm-up before each size


def test_batches_end_where_the_memory_does(clock: Clock) -> None:
    messages: list[str] = []
    values = measure(FakeModel(clock, fits=2), batch_sizes=(1, 2, 4, 8), tell=messages.append)
    assert "inference/throughput_samples_per_sec_b2" in values
    assert not any(name.endswith(("_b4", "_b8")) for name in values)
    assert messages[-1] == "batch 4 does not fit into the device's memory"


def test_flops_use_the_lengths_that_occurred(clock: Clock) -> None:
    model = FakeModel(clock)
    shape = served_by(model).flops
    values = measure(model, batch_sizes=())
    expected = (3 * shape.of(4, 4) + shape.of(6, 6)) / 4 / 1e9
    assert values["inference/flops_per_query_gflops"] == pytest.approx(expected)


def test_memory_is_absent_on_a_cpu_and_counted_after_the_warm_up_on_a_gpu(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FakeModel(clock)
    assert measure(model, batch_sizes=())["inference/peak_vram_gb"] is None
    calls_at_reset: list[int] = []
    fake = SimpleNamespace(
        synchronise=lambda _: None,
        reset_peak_memory=lambda _: calls_at_reset.append(len(model.rows)),
        peak_memory_gb=lambda _: (len(model.rows) / 10, 7.0),
    )
    monkeypatch.setattr(inference_benchmark, "device_memory", fake)
    model.rows.clear()
    values = measure(model, batch_sizes=(1, 2))
    assert calls_at_reset == [inference_benchmark.WARMUP_QUERIES]
    assert (
        values["inference/peak_vram_gb"] == (inference_benchmark.WARMUP_QUERIES + 4) / 10
    )  # at batch 1
    assert values["inference/peak_reserved_gb"] == 7.0


def test_the_device_is_waited_for_around_every_query(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work that is only queued when the call returns still counts."""
    model = FakeModel(clock)

    def synchronise(_: torch.device) -> None:
        clock.now += 0.001

    monkeypatch.setattr(device_memory, "synchronise", synchronise)
    (timed,) = inference_benchmark.time_queries(served_by(model), PROMPTS[:1], 8)
    assert timed.first_token_s == pytest.approx(COLD_S + PREFILL_S + 0.001)
    assert timed.latency_s == pytest.approx(COLD_S + PREFILL_S + 3 * TOKEN_S + 0.002)


def test_answers_of_one_token_have_no_time_per_further_token() -> None:
    values = inference_benchmark.latency_values([TimedAnswer(4, 1, 0.02, 0.02)])
    assert values["inference/time_per_output_token_ms"] is None


def test_queries_are_spread_over_all_data_sets() -> None:
    examples = [(name, i) for name in "abc" for i in range(10)]
    chosen = inference_benchmark.choose_queries(examples, 6)
    assert [name for name, _ in chosen] == ["a", "a", "b", "b", "c", "c"]
    assert chosen == inference_benchmark.choose_queries(examples, 6)
    assert inference_benchmark.choose_queries(examples, 99) == examples
