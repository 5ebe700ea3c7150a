"""Device memory: the one place that frees it, and how its peak is read.

A model goes when nothing refers to it. Python's counting alone does not find models that stand in
reference cycles, and the allocator keeps what was freed, so both are asked here.
"""

import ctypes
import gc
import sys
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


# glibc's numbers of what mallopt sets, and bytes. 32 MiB is the most that it takes; larger blocks,
# such as weights, still go back to the system at once.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_KEPT_BLOCK, _KEPT_IN_ALL = 32 << 20, 128 << 20


def reuse_freed(device: torch.device) -> bool:
    """On a CPU, let the allocator of C keep up to 128 MiB of freed blocks for the next tensors,
    from now on; whether it does. As it is it gives each of more than 128 KiB back, and the pages
    of the next one have to be made anew: a fifth of the time of an evaluation point."""
    if device.type != "cpu" or sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    set_to = library.mallopt
    return bool(set_to(_MMAP_THRESHOLD, _KEPT_BLOCK) and set_to(_TRIM_THRESHOLD, _KEPT_IN_ALL))


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
