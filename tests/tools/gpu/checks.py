"""The checks. Each takes the lab and gives its figures, with `passed` among them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import torch

from agent.config.shared_devices import AGENTS_PER_GPU
from agent.errors import OutOfMemory
from agent.evaluation import generation, inference_benchmark, served_model, validation
from agent.training import answer_loss, base_model, device_memory, prompts
from agent.training.bases import linear_layers
from tests.tools.gpu import plain_loop
from tests.tools.gpu.lab import Lab
from tests.training.lab import CELLS

Figures = dict[str, Any]
SLACK_GB = 0.05  # of what libraries keep for themselves: cuBLAS workspaces, and no more
AT_LEAST = 1.5  # times the plain loop's tokens per second, where that is the aim


def cells(lab: Lab) -> Figures:
    """Each cell trains two steps, is validated and benchmarked; VRAM falls with the bits of the
    base, FLOPs are equal, and every deployment gives its memory back."""
    data = lab.records("cells", [lab.size.short] * lab.size.records, answer=16)
    found: dict[str, Figures] = {}
    for variant, strategy in CELLS:
        values = {"model_variant": variant, "quantization_strategy": strategy, "eval_every": 0.5}
        config = lab.config(data, **values, store=str(lab.root / f"{variant} {strategy}"))
        training = lab.training(config)
        held: list[float] = []
        scores: Any = None
        for point in training.points():
            before = lab.held_gb()
            scores = validation.score_point(training, point)
            held.append(lab.held_gb() - before)
        examples, adapter, path = training.data, point.adapter, training.base_path
        training.free()
        del training
        found[f"{variant} {strategy}"] = {
            "train_peak_gb": point.cost.peak_vram_gb,
            "tflops": point.cost.flops and point.cost.flops / 1e12,
            "answers": len(scores.predictions),
            "kept_after_deployments_gb": max(held),
            "kept_after_training_gb": lab.held_gb(),
            **_benchmark(lab, config, path, adapter, examples),
        }
    of = {name: figures["train_peak_gb"] for name, figures in found.items()}
    peaks = of["QLoRA int4"], of["QLoRA int8"], of["Full LoRA None"]
    start = min(figures["kept_after_training_gb"] for figures in found.values())
    passed = {
        "vram_nf4_below_int8_below_16bit": None in peaks or peaks[0] < peaks[1] < peaks[2],
        "shared_training_same_peak": _agree([of[n] for n in of if not n.startswith("QLoRA")]),
        "flops_equal": len({figures["tflops"] for figures in found.values()}) == 1,
        "memory_back": all(
            figures["kept_after_deployments_gb"] < SLACK_GB
            and figures["kept_after_training_gb"] - start < SLACK_GB
            for figures in found.values()
        ),
    }
    return {"passed": all(passed.values()), **passed, "cells": found}


def _agree(peaks: Sequence[float | None]) -> bool:
    known = [p for p in peaks if p is not None]
    return not known or max(known) <= 1.01 * min(known)


def _benchmark(lab: Lab, config: Any, path: Path, adapter: Path, examples: Any) -> Figures:
    served = served_model.serve(config, path, lambda: adapter)
    asked = [prompts.prompt_ids(served.tokenizer, e.messages) for e in examples.validation]
    values = inference_benchmark.measure(
        served, asked, max_new_tokens=config.max_new_tokens, batch_sizes=(1,)
    )
    names = ("avg_latency_ms_per_sample", "peak_vram_gb", "model_size_gb")
    return {f"inference_{name}": values[f"inference/{name}"] for name in names}


def out_of_memory(lab: Lab) -> Figures:
    """Passes that do not fit end in a clear error, leave nothing behind, and fit when smaller."""
    data = lab.records("memory", [lab.size.long // 2] * lab.size.records, answer=16)
    first = lab.config(data, micro_batch_size=1, eval_every=0.5, store=str(lab.root / "one"))
    alone = lab.training(first)
    following = alone.points()
    peak = next(following).cost.peak_vram_gb
    following.close()
    alone.free()
    del alone, following
    before, config = lab.held_gb(), lab.config(data, store=str(lab.root / "memory"))
    tried: list[int] = []
    kept, points = 0.0, []
    with _room_for(lab, peak):
        while True:
            training = lab.training(config)
            tried.append(config.forward_batch_size)
            with suppress(OutOfMemory):
                points = list(training.points())
                break
            kept = max(kept, lab.held_gb() - before)
            smaller = config.with_smaller_passes()
            assert smaller is not None, "one example has fitted before"
            config = smaller
        training.free()
    passed = len(tried) > 1 and kept < SLACK_GB and points[-1].step == points[-1].total_steps
    return {"passed": passed, "tried_micro_batches": tried, "kept_after_failure_gb": kept}


@contextmanager
def _room_for(lab: Lab, peak_gb: float | None) -> Iterator[None]:
    """A device with half as much again as one example takes; on a CPU, one that says so."""
    if peak_gb is None:
        real = answer_loss.forward_backward

        def limited(model: Any, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
            if ids.shape[0] > 1:
                raise torch.OutOfMemoryError("as if there were no more")
            return real(model, ids, *rest)

        with mock.patch.object(answer_loss, "forward_backward", limited):
            yield
        return
    total = torch.cuda.get_device_properties(lab.device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.5 * peak_gb * 1e9 / total, 1.0), lab.device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, lab.device)


def resume(lab: Lab) -> Figures:
    """A training that is cut after its first point goes on as the undisturbed one does."""
    data = lab.records("resume", [lab.size.short] * lab.size.records, answer=16)
    losses = []
    for name, is_cut in (("whole", False), ("cut", True)):
        config = lab.config(data, eval_every=0.5, lora_dropout=0.1, store=str(lab.root / name))
        if is_cut:
            training = lab.training(config)
            following = training.points()
            next(following)
            following.close()
            training.free()
        training = lab.training(config)
        losses.append([x.loss for p in training.points() for x in p.losses])
        training.free()
    apart = max(abs(a - b) / abs(a) for a, b in zip(*losses, strict=True))
    limit = 0.0 if lab.device.type == "cpu" else 1e-2
    return {"passed": apart <= limit, "largest_relative_difference": apart, "limit": limit}


def two_workers(lab: Lab) -> Figures:
    """Two processes train on one card at a time, and each claims half of it."""
    data = lab.records("workers", [lab.size.short] * lab.size.records, answer=16)
    processes = []
    for number in range(2):
        config = lab.config(data, learning_rate=1e-4 * (1 + number), eval_every=0.5)
        point = lab.root / f"worker-{number}.json"
        point.write_text(json.dumps(config.model_dump(mode="json")))
        words = [sys.executable, "-m", "tests.tools.gpu.worker", str(point)]
        processes.append(
            subprocess.Popen(
                words,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[3],
                env={**os.environ, AGENTS_PER_GPU: "2"},
            )
        )
    costs = [json.loads(p.communicate()[0].splitlines()[-1]) for p in processes]
    shares = [cost["device_seconds"] / cost["train_seconds"] for cost in costs]
    halves = all(abs(share - 0.5) < 1e-6 for share in shares)
    return {
        "passed": halves,
        "claimed_shares": shares,
        "train_s": [c["train_seconds"] for c in costs],
    }


def long_generation(lab: Lab) -> Figures:
    """Many long prompts at once, and again in batches of half the size: how alike they are."""
    size = lab.size
    config = lab.config(lab.records("prompts", [size.prompt] * size.prompts, answer=16))
    base = base_model.load(config, lab.model, "16bit", lab.device)
    asked = [[5 + (7 * i + j) % 900 for j in range(size.prompt)] for i in range(size.prompts)]
    answers, seconds = [], 0.0
    device_memory.reset_peak_memory(lab.device)
    for rows in (size.prompts, size.prompts // 2):
        budget = rows * (size.prompt + size.new_tokens)
        taken, said = lab.timed(
            lambda budget=budget: generation.generate(
                base.model,
                base.tokenizer,
                asked,
                batch_size=1,
                token_budget=budget,
                max_new_tokens=size.new_tokens,
            )
        )
        answers.append(said)
        seconds = seconds or taken
    same = sum(a == b for a, b in zip(*answers, strict=True))
    return {
        "passed": len(answers[0]) == size.prompts,
        "prompts": size.prompts,
        "prompt_tokens": size.prompt,
        "new_tokens": size.new_tokens,
        "seconds_of_all": seconds,
        "peak_gb": device_memory.peak_memory_gb(lab.device)[0],
        "same_in_half_the_batch": same,
    }


def large_int8(lab: Lab) -> Figures:
    """An LLM.int8 product of more than 2^31 elements is as right at its end as at its start."""
    width, inner = (
        int(str(lab.size.shape["hidden_size"])),
        int(str(lab.size.shape["intermediate_size"])),
    )
    rows = lab.size.int8_rows
    torch.manual_seed(0)
    with lab.device, torch.inference_mode():
        linear = torch.nn.Linear(width, inner, bias=False, dtype=torch.bfloat16)
        states = torch.randn(rows, width, dtype=torch.bfloat16)
    layer = linear_layers.QUANTISERS["llm_int8"](linear)
    errors = []
    with torch.inference_mode():
        said = layer(states)
        for part in (slice(0, 64), slice(rows - 64, rows)):
            exact = states[part].float() @ linear.weight.float().T
            errors.append(float((said[part].float() - exact).norm() / exact.norm()))
    return {"passed": max(errors) < 0.05, "elements": rows * inner, "errors_first_last": errors}


def speed(lab: Lab) -> Figures:
    """Tokens per second without padding, and peak memory, against the plain loop."""
    size, rng = lab.size, Random(0)
    mix = [rng.randint(*rng.choice(size.mix)) for _ in range(2 * size.records)]
    cases = {
        "short": ([size.short] * 2 * size.records, 8, 8),
        "long": ([size.long - 64] * (size.records // 2), 2, 1),
        "mix": (mix, 8, 2),
    }
    found, ratios = {}, {}
    for name, (lengths, batch, micro) in cases.items():
        data = lab.records(name, lengths, answer=min(32, size.short // 4))
        ours = _ours(lab, data, batch, micro, name)
        lab.clean()
        config = lab.config(data)
        tokenizer = base_model.load_tokenizer(lab.model)
        examples = lab.training(config).data.train
        sequences, _ = prompts.encode(tokenizer, examples, config.max_length)
        pad = tokenizer.pad_token_id
        plain = plain_loop.train(lab, sequences, batch=batch, micro=micro, pad_id=pad)
        lab.clean()
        ratios[name] = ours["tokens_per_sec"] / plain["tokens_per_sec"]
        found[name] = {"ratio": ratios[name], "ours": ours, "plain": plain}
    is_timed = lab.device.type == "cuda"
    passed = not is_timed or all(ratios[n] >= AT_LEAST for n in ("long", "mix"))
    return {"passed": passed, "at_least": AT_LEAST if is_timed else None, "cases": found}


def _ours(lab: Lab, data: str, batch: int, micro: int, name: str) -> Figures:
    """The second of two epochs: the first has the kernels to choose."""
    config = lab.config(
        data, batch_size=batch, micro_batch_size=micro, epochs=2, store=str(lab.root / name)
    )
    training = lab.training(config)
    first, second = (point.cost for point in training.points())
    training.free()
    seconds = second.train_seconds - first.train_seconds
    return {
        "tokens_per_sec": (second.tokens - first.tokens) / seconds,
        "padding_share": 1 - second.tokens / second.padded_tokens,
        "peak_gb": second.peak_vram_gb,
    }


CHECKS: dict[str, Callable[[Lab], Figures]] = {
    "cells": cells,
    "out_of_memory": out_of_memory,
    "resume": resume,
    "two_workers": two_workers,
    "long_generation": long_generation,
    "large_int8": large_int8,
    "speed": speed,
}
