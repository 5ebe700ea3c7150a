"""A study of the usual size: five variants, six learning rates, seeds with scored examples."""

import math
import random

from agent.results.run_table import Row, base_rows
from tests.results.known_table import CELLS, pruned, run

RATES = (5e-5, 1e-4, 2e-4, 3e-4, 4e-4, 1e-3)
SIZE_GB = {"full": 6.2, "qlora4": 2.4, "qlora8": 3.5, "ptq8": 3.5, "ptq4": 2.3}
VRAM_GB = {"full": 21.0, "qlora4": 12.0, "qlora8": 15.0, "ptq8": 21.0, "ptq4": 21.0}
TOKEN_MS = {"full": 11.0, "qlora4": 14.0, "qlora8": 24.0, "ptq8": 22.0, "ptq4": 12.5}
LOST = {"full": 0.0, "qlora4": 0.03, "qlora8": 0.012, "ptq8": 0.004, "ptq4": 0.06}
BASES = """[
 {"final/validation_f1_score": 0.03, "inference/model_size_gb": 6.2},
 {"final/validation_f1_score": 0.02, "inference/model_size_gb": 2.3,
  "quantization_strategy": "int4"}
]"""


def study_rows(seeds: int = 3, examples: int = 240, gpus: tuple[str, ...] = ("H100",)) -> list[Row]:
    """The runs and the untouched base in two forms."""
    dice = random.Random(5)
    hard = [dice.random() for _ in range(examples)]
    rows = [
        _one(dice, hard, cell, rate, seed, gpu)
        for cell in CELLS
        for rate in RATES
        for seed in range(seeds)
        for gpu in gpus
    ]
    return [*rows, *base_rows(BASES)]


def _one(
    dice: random.Random, hard: list[float], cell: str, rate: float, seed: int, gpu: str
) -> Row:
    name = f"{cell}-{rate:g}-{seed}-{gpu}"
    if rate == RATES[-1] and cell in ("qlora4", "ptq4"):
        return pruned(cell, rate, ((1.0, 0.2),), seed=seed, run_id=name)
    level = 0.7 - LOST[cell] - 0.18 * math.log10(rate / 2e-4) ** 2 + dice.gauss(0, 0.006)
    scores = {f"e{i}": float(h < level + dice.gauss(0, 0.02)) for i, h in enumerate(hard)}
    f1 = sum(scores.values()) / len(scores)
    slower = 1.8 if gpu != "H100" else 1.0
    return run(
        cell,
        rate,
        f1,
        seed=seed,
        scores=scores,
        run_id=name,
        curve=((1.0, f1 / 2), (2.0, 0.9 * f1), (3.0, f1)),
        hardware__gpu=gpu,
        inference__model_size_gb=SIZE_GB[cell],
        inference__time_per_output_token_ms=TOKEN_MS[cell] * slower + dice.gauss(0, 0.3),
        inference__avg_latency_ms_per_sample=30 * TOKEN_MS[cell] * slower,
        inference__tokens_out=30.0,
        inference__peak_vram_gb=1.2 * SIZE_GB[cell],
        inference__flops_per_query_gflops=812.5,
        train__peak_vram_gb=VRAM_GB[cell] + dice.gauss(0, 0.1),
        train__epoch_time_min=12.25,
        train__throughput_samples_per_sec=40.5,
        train__total_training_flops_tflops=51234.0,
        train__own_gpu_seconds=2000.0,
        train__gpu_seconds=2000.0,
        final__validation_accuracy=0.6 * f1,
    )
