"""Device memory: the one place that frees it, and how its peak is read.

A model goes when nothing refers to it. Python's counting alone does not find models that stand in
reference cycles, and the allocator keeps what was freed, so both are asked here.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from agent.errors import first_line

Result = TypeVar("Result")


@dataclass(frozen=True)
class Shortage:
    """The device's memory did not hold what was asked of it."""

    reason: str


def attempt(work: Callable[[], Result]) -> Result | Shortage:
    """What `work` gives, or the shortage it met. The error itself ends here: its traceback would
    keep the tensors of every frame it came through."""
    try:
        return work()
    except torch.OutOfMemoryError as error:
        return Shortage(first_line(error))


def release(device: torch.device) -> None:
    """Give back the memory of everything that nothing refers to any more.

    On a CPU the counting frees what matters and the allocator keeps nothing; collecting would
    take a tenth of a second each time.
    """
    if device.type == "cuda":
        gc.collect()
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


def break_cycles(model: nn.Module) -> None:
    """Cut what keeps a model alive after its last owner: bitsandbytes' 4-bit weights refer to the
    layer they belong to, which they need only until they are quantised."""
    for module in model.modules():
        weight: Any = getattr(module, "weight", None)
        if getattr(weight, "module", None) is module and getattr(weight, "quant_state", None):
            weight.module = None


def peak_memory_gb(device: torch.device) -> tuple[float | None, float | None]:
    """Peak allocated and reserved device memory in GB (10^9 bytes) since the last reset; None
    where there is no such memory (CPU)."""
    if device.type != "cuda":
        return None, None
    allocated = torch.cuda.max_memory_allocated(device)
    return allocated / 1e9, torch.cuda.max_memory_reserved(device) / 1e9


def allocated_gb(device: torch.device) -> float | None:
    """Device memory in use now."""
    return torch.cuda.memory_allocated(device) / 1e9 if device.type == "cuda" else None


def reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
