"""What a run logs: which key holds which measured value.

Pure functions from an evaluation point and its scores to logged values; keys and units are those
of the README's table. A value that was not measured is None and is left out, never 0.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from agent.results.metrics import gib
from agent.results.presentation import FLOPS_LEFT_OUT

if TYPE_CHECKING:
    from agent.evaluation.validation import Scores
    from agent.search.trials import Verdict
    from agent.training.evaluation_points import EvaluationPoint


def point_values(point: "EvaluationPoint", scores: "Scores") -> dict[str, object]:
    """What is logged at an evaluation point, under the step of the point."""
    last = point.losses[-1]
    return {
        "step": point.step,
        "epoch": point.epoch,
        "train/loss": last.loss,
        "train/learning_rate": last.learning_rate,
        **{name: value for name, value in cost_values(point).items() if value is not None},
        **{f"validation/{name}": value for name, value in scores.metrics().items()},
    }


def cost_values(point: "EvaluationPoint") -> dict[str, float | None]:
    """Cost of the training up to the point, whichever run paid it."""
    cost = point.cost
    seconds = max(cost.train_seconds, 1e-9)
    return {
        "train/epoch_time_min": cost.train_seconds / 60 / point.epoch,
        "train/throughput_samples_per_sec": cost.samples / seconds,
        "train/throughput_tokens_per_sec": cost.tokens / seconds,
        "train/throughput_padded_tokens_per_sec": cost.padded_tokens / seconds,
        "train/padding_share": 1 - cost.tokens / max(cost.padded_tokens, 1),
        "train/total_training_flops_tflops": _tera(cost.flops),
        "train/padded_training_flops_tflops": _tera(cost.padded_flops),
        "train/gpu_seconds": cost.device_seconds,
        "train/energy_joules": cost.energy_joules,
        "train/save_seconds": cost.save_seconds,
        "train/peak_vram_gb": cost.peak_vram_gb,
        "train/peak_vram_gib": gib(cost.peak_vram_gb),
        "train/peak_reserved_gb": cost.peak_reserved_gb,
    }


def _tera(flops: float | None) -> float | None:
    return None if flops is None else flops / 1e12


def final_values(
    points: Sequence["EvaluationPoint"],
    scores: "Scores",
    run_id: str,
    waited_s: float,
    *,
    is_pruned: bool = False,
) -> dict[str, object]:
    """The summary of run `run_id`, which ended with the last of `points` and its `scores`.

    A pruned run has the same under `stopped/`: a mean of `final/…` over runs
    grouped by variant is one of complete runs only.
    """
    last, group = points[-1], "stopped" if is_pruned else "final"
    named = scores.metrics()
    headline = {f"validation_{name}": named.pop(name) for name in ("accuracy", "f1_score")}
    return {
        **cost_values(last),
        **{f"{group}/{name}": value for name, value in {**headline, **named}.items()},
        f"{group}/epoch": last.epoch,
        f"{group}/step": last.step,
        f"{group}/point_digest": last.digest,
        "inference/model_size_gb": scores.model_size_gb,
        "inference/model_size_gib": gib(scores.model_size_gb),
        "train/reused_from": reused_from(run_id, points),
        "train/waited_seconds": waited_s,
        "train/gpu": trained_on(points),
        FLOPS_LEFT_OUT: last.cost.flops_left_out,
        "train/agents_on_gpu": last.cost.agents_on_device,
        "data/too_long_validation_examples": scores.too_long,
    }


def trained_on(points: Iterable["EvaluationPoint"]) -> str | None:
    """The types of GPU that the points were trained on, by whichever run; "cpu" without one."""
    return ", ".join(dict.fromkeys(p.gpu for p in points if p.gpu)) or None


def reused_from(run_id: str, points: Iterable["EvaluationPoint"]) -> str | None:
    """The runs that paid for points this run only read; None when it paid for all."""
    others = dict.fromkeys(p.run_id for p in points if p.run_id != run_id)
    return ", ".join(others) or None


def verdict_values(verdict: "Verdict") -> dict[str, object]:
    """Why and where a run was stopped early."""
    named = {f"stopped/{name}": value for name, value in verdict.details.items()}
    return {**named, "stopped/reason": verdict.reason, "stopped/rung": verdict.rung}
