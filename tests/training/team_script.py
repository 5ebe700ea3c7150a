"""Run by torchrun: one team trains undisturbed, is interrupted, goes on, and diverges.

torchrun --nproc-per-node 2 --module tests.training.team_script DIRECTORY
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from agent.errors import TrainingDiverged
from agent.log_noise import quieten_libraries
from agent.signals import Interrupted, Interruption
from agent.training import data_parallel
from agent.training.store import TrainingDirectory
from tests.training import lab


def main(root: Path) -> None:
    quieten_libraries()
    torch.set_num_threads(1)
    TrainingDirectory.drop_states = lambda *_, **__: None  # type: ignore[method-assign]  # nothing is dropped
    for name in ("alone", "whole"):
        train(root, name, lora_dropout=0.0 if name == "alone" else 0.1)
    try:
        train(root, "cut", check=interrupt_at(5))
    except Interrupted:
        (root / "interrupted").touch()
    train(root, "cut")
    try:
        train(root, "diverged", on_model=spoil)
    except TrainingDiverged:
        (root / "informed").touch()


def train(root: Path, name: str, lora_dropout: float = 0.1, **options: Any) -> None:
    values = {**VALUES, "lora_dropout": lora_dropout, "store": str(root / name)}
    if data_parallel.is_helper():
        lab.open_training(root, values).help()
    else:
        list(lab.open_training(root, values, run_id="team", **options).points())


VALUES = {"compute_dtype": "float32", "learning_rate": 1e-3}


def interrupt_at(call: int) -> Callable[[], None]:
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == call:
            raise Interrupted(Interruption.PREEMPTED)

    return check


def spoil(model: Any) -> None:
    for weights in model.parameters():
        if weights.requires_grad:
            weights.data.fill_(float("nan"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
