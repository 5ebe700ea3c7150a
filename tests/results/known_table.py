"""A hand-made table of runs: five cells, four learning rates, every answer known by hand."""

from collections.abc import Mapping
from typing import Any

from agent.results.run_table import Curve, Row, Scalar

CELLS: dict[str, tuple[str, str]] = {
    "full": ("Full LoRA", "None"),
    "qlora4": ("QLoRA", "int4"),
    "qlora8": ("QLoRA", "int8"),
    "ptq8": ("LoRA+PTQ", "int8"),
    "ptq4": ("LoRA+PTQ", "int4"),
}
RATES = (1e-4, 1e-3, 5e-3, 2e-2)
F1 = {  # by cell, in the order of RATES; None was pruned at rung 1
    "full": (0.20, 0.40, 0.80, None),
    "qlora4": (0.10, 0.30, 0.60, 0.50),
    "qlora8": (0.20, 0.42, 0.78, 0.30),
    "ptq8": (0.20, 0.40, 0.80, None),
    "ptq4": (0.05, 0.20, 0.20, 0.40),
}
SIZE_GB = {"full": 2.0, "qlora4": 0.5, "qlora8": 1.0, "ptq8": 1.0, "ptq4": 0.5}
LATENCY_MS = {"full": 10.0, "qlora4": 12.0, "qlora8": 20.0, "ptq8": 16.0, "ptq4": 8.0}


def run(
    cell: str,
    rate: float,
    f1: float | None,
    *,
    seed: int = 0,
    state: str = "finished",
    run_id: str = "",
    curve: Curve = (),
    scores: Mapping[str, float] | None = None,
    **more: Any,
) -> Row:
    """One run; keys of `more` are written with `__` for `/`, and None takes a key away."""
    variant, strategy = CELLS[cell]
    values: dict[str, Scalar | None] = {
        "model_variant": variant,
        "quantization_strategy": strategy,
        "learning_rate": rate,
        "seed": seed,
        "epochs": 3,
        "dataset": "train.json",
        "base_model": "tiny",
        "max_length": 2048,
        "epoch": 3.0,
        "final/validation_f1_score": f1,
        **{key.replace("__", "/"): value for key, value in more.items()},
    }
    kept = {key: value for key, value in values.items() if value is not None}
    return Row(
        run_id or f"{cell}-{rate:g}-{seed}",
        state,
        kept,
        project="demo",
        curves={"validation/f1_score": curve} if curve else {},
        scores={"validation": dict(scores)} if scores else {},
    )


def pruned(cell: str, rate: float, curve: Curve, *, rung: int = 1, **more: Any) -> Row:
    more = {"epoch": curve[-1][0], **more}
    return run(cell, rate, None, curve=curve, stopped__rung=rung, **more)


def known_rows() -> tuple[Row, ...]:
    rows = []
    for cell, scores in F1.items():
        for rate, score in zip(RATES, scores, strict=True):
            if score is None:
                rows.append(pruned(cell, rate, ((1.0, 0.04),), train__own_gpu_seconds=20.0))
                continue
            curve = ((1.0, score / 4), (2.0, score / 2), (3.0, score))
            rows.append(
                run(
                    cell,
                    rate,
                    score,
                    curve=curve,
                    inference__model_size_gb=SIZE_GB[cell],
                    inference__avg_latency_ms_per_sample=LATENCY_MS[cell],
                    train__own_gpu_seconds=60.0,
                    train__gpu_seconds=60.0,
                    hardware__gpu="H100",
                )
            )
    return tuple(rows)
