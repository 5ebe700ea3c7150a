"""The inference benchmark: latency, throughput, memory and FLOPs of a deployment on real queries.

Batch 1, greedy, one query after the other, the device synchronised around each; warm-up is outside
the timed set. The first token's time is read inside the same call, at the end of the first forward
pass, so that both times belong to one answer. Run it in a fresh process: memory of a training in
the same process would be counted, too.
"""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from agent.evaluation import generation
from agent.evaluation.served_model import ServedModel
from agent.training import adapters, device_memory

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
WARMUP_QUERIES = 3
WARMUP_TOKENS = 4  # for each batch size: enough to have every kernel and buffer in place

Item = TypeVar("Item")
Prompt = Sequence[int]


@dataclass(frozen=True)
class TimedAnswer:
    """One query at batch 1. Seconds count from handing over the prompt's token ids."""

    tokens_in: int
    tokens_out: int  # the end token included
    latency_s: float
    first_token_s: float


def choose_queries(examples: Sequence[Item], count: int) -> list[Item]:
    """`count` examples evenly spread over all, so that every data set has its share."""
    if count >= len(examples):
        return list(examples)
    return [examples[i * len(examples) // count] for i in range(count)]


def measure(
    served: ServedModel,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int | Sequence[int],
    batch_sizes: Sequence[int] = BATCH_SIZES,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, float | None]:
    """Every metric of the benchmark by its key; None where it does not apply (memory on a CPU).

    `max_new_tokens` is one limit, or that of each prompt.
    """
    warm_up(served, prompts, max_new_tokens)
    device_memory.reset_peak_memory(served.device)
    timed = time_queries(served, prompts, max_new_tokens)
    allocated, reserved = device_memory.peak_memory_gb(served.device)
    tell(f"{len(timed)} queries at batch 1: {_mean_ms([t.latency_s for t in timed]):.1f} ms each")
    values = {
        **latency_values(timed),
        "inference/flops_per_query_gflops": _mean(
            [served.flops.of(t.tokens_in, t.tokens_out) / 1e9 for t in timed]
        )
        if served.flops.is_known
        else None,
        "inference/peak_vram_gb": allocated,
        "inference/peak_vram_gib": None if allocated is None else allocated * 1e9 / 2**30,
        "inference/peak_reserved_gb": reserved,
        "inference/model_size_gb": served.model_size_gb,
        "inference/model_size_gib": served.model_size_gb * 1e9 / 2**30,
        "inference/load_time_s": served.load_time_s,
    }
    for size in batch_sizes:
        try:
            rate = (
                len(timed) / sum(t.latency_s for t in timed)
                if size == 1
                else time_batches(served, prompts, size, max_new_tokens)
            )
        except torch.OutOfMemoryError:
            tell(f"batch {size} does not fit into the device's memory")
            break
        values[f"inference/throughput_samples_per_sec_b{size}"] = rate
        tell(f"batch {size}: {rate:.2f} samples/s")
    return values


def warm_up(
    served: ServedModel, prompts: Sequence[Prompt], max_new_tokens: int | Sequence[int]
) -> None:
    """Whole answers, untimed: kernels are chosen and buffers allocated on first use."""
    asked = list(zip(prompts, _limit_of_each(prompts, max_new_tokens), strict=True))
    chosen = choose_queries(asked, WARMUP_QUERIES)
    time_queries(served, [prompt for prompt, _ in chosen], [limit for _, limit in chosen])


def time_queries(
    served: ServedModel, prompts: Sequence[Prompt], max_new_tokens: int | Sequence[int]
) -> list[TimedAnswer]:
    """Each prompt by itself, in order."""
    gc.collect()  # not in the middle of a query
    limits = _limit_of_each(prompts, max_new_tokens)
    return [_time_query(served, p, limit) for p, limit in zip(prompts, limits, strict=True)]


def _limit_of_each(prompts: Sequence[Prompt], max_new_tokens: int | Sequence[int]) -> Sequence[int]:
    return [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else max_new_tokens


def _time_query(served: ServedModel, prompt: Prompt, max_new_tokens: int) -> TimedAnswer:
    moments: list[float] = []

    def note() -> None:
        device_memory.synchronise(served.device)
        moments.append(time.perf_counter())

    device_memory.synchronise(served.device)
    started = time.perf_counter()
    with _after_first_pass(served.model, note):
        (answer,) = _generate(served, [prompt], 1, max_new_tokens)
    device_memory.synchronise(served.device)
    ended = time.perf_counter()
    return TimedAnswer(len(prompt), answer.tokens_out, ended - started, moments[0] - started)


@contextmanager
def _after_first_pass(model: nn.Module, note: Callable[[], None]) -> Iterator[None]:
    """Call `note` when the next forward pass is done, and at none after it."""

    def once(*_: Any) -> None:
        handle.remove()
        note()

    # Generation calls the transformers model itself, not PEFT's wrapper around it.
    inner = adapters.without_adapter(model)
    handle = inner.register_forward_hook(once)
    try:
        yield
    finally:
        handle.remove()


def time_batches(
    served: ServedModel,
    prompts: Sequence[Prompt],
    batch_size: int,
    max_new_tokens: int | Sequence[int],
) -> float:
    """Samples per second in batches of `batch_size`, full ones where all prompts have one limit;
    prompts repeat where there are fewer."""
    limits = _limit_of_each(prompts, max_new_tokens)
    count = max(batch_size, len(prompts) // batch_size * batch_size)
    repeated = [prompts[i % len(prompts)] for i in range(count)]
    groups: dict[int, list[Prompt]] = {}
    for place, prompt in enumerate(repeated):
        groups.setdefault(limits[place % len(prompts)], []).append(prompt)
    longest = sorted(repeated, key=len)[-batch_size:]
    _generate(served, longest, batch_size, min(WARMUP_TOKENS, *groups))
    device_memory.synchronise(served.device)
    started = time.perf_counter()
    for limit, asked in groups.items():
        _generate(served, asked, batch_size, limit)
    device_memory.synchronise(served.device)
    return count / (time.perf_counter() - started)


def _generate(
    served: ServedModel, prompts: Sequence[Prompt], batch_size: int, max_new_tokens: int
) -> list[generation.Answer]:
    return generation.generate(
        served.model,
        served.tokenizer,
        prompts,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
    )


def latency_values(timed: Sequence[TimedAnswer]) -> dict[str, float | None]:
    """Means and percentiles over the queries. The time per output token is that of the tokens
    after the first; None when no answer has a second token."""
    latencies = [t.latency_s for t in timed]
    later_tokens = sum(t.tokens_out - 1 for t in timed)
    later_s = sum(t.latency_s - t.first_token_s for t in timed if t.tokens_out > 1)
    return {
        "inference/queries": float(len(timed)),
        "inference/avg_latency_ms_per_sample": _mean_ms(latencies),
        "inference/p50_latency_ms": float(np.percentile(latencies, 50)) * 1e3,
        "inference/p95_latency_ms": float(np.percentile(latencies, 95)) * 1e3,
        "inference/time_to_first_token_ms": _mean_ms([t.first_token_s for t in timed]),
        "inference/time_per_output_token_ms": later_s / later_tokens * 1e3
        if later_tokens
        else None,
        "inference/tokens_in": _mean([float(t.tokens_in) for t in timed]),
        "inference/tokens_out": _mean([float(t.tokens_out) for t in timed]),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _mean_ms(seconds: Sequence[float]) -> float:
    return _mean(seconds) * 1e3
