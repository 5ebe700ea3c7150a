"""Data parallelism over the GPUs of one node, as torchrun starts it: one process for each.

Rank 0 is the run: it alone follows the store, holds the lease, logs and saves. The others help:
they wait for its orders and compute their share of every batch. Gradients are summed, so all
hold the same weights after every step. Without torchrun the team has one member and every call is
free.
"""

import atexit
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from agent.errors import TrainingDiverged

if TYPE_CHECKING:
    import torch

_PATIENCE = timedelta(days=7)  # helpers wait while rank 0 validates or follows another worker


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_helper() -> bool:
    """True in every process of a team but the first."""
    return int(os.environ.get("RANK", "0")) > 0


class Team:
    """The processes that train together. The first use of `join` connects them."""

    def __init__(self, device_type: str) -> None:
        self.size, self._device_type = world_size(), device_type
        self.rank = int(os.environ.get("RANK", "0"))
        self._control: Any = None
        self._is_torn = False

    def join(self) -> None:
        if self.size > 1 and self._control is None:
            self._control = _connect(self._device_type)

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """Around a step. What ends a step on one member alone leaves the others inside it, where
        no order reaches them; then this process has to fail, and torchrun ends the rest."""
        try:
            yield
        except TrainingDiverged:  # all members see the same loss
            raise
        except BaseException:
            self._is_torn = self.size > 1
            raise

    # ------------------------------------------------------------------ orders of rank 0
    def order(self, name: str, *details: Any) -> None:
        """Tell the helpers what to do next."""
        if self._is_torn:
            return
        self._broadcast((name, *details))

    def next_order(self) -> tuple[Any, ...]:
        """A helper's: wait for the next order."""
        found: tuple[Any, ...] = self._broadcast(None)
        return found

    def agree(self, flag: bool) -> bool:
        """What rank 0 says; the others' own word does not count."""
        return bool(self._broadcast(flag)) if self.size > 1 else flag

    def _broadcast(self, value: Any) -> Any:
        if self.size == 1:
            return value
        from torch import distributed

        self.join()
        box = [value]
        distributed.broadcast_object_list(box, src=0, group=self._control)
        return box[0]

    # ------------------------------------------------------------------ shares of a step
    def share(self, indices: list[int]) -> list[int]:
        """This member's part of a batch."""
        return indices[self.rank :: self.size]

    def seed_step(self, seed: int, step: int) -> None:
        """Other dropout on every member, the same again when the step is repeated."""
        if self.size > 1:
            import torch

            torch.manual_seed((seed * 1_000_003 + step) * 1024 + self.rank)

    def sum_gradients(self, weights: Iterable["torch.Tensor"]) -> None:
        """Each gradient's sum over the team, in one message: a LoRA has hundreds of small ones."""
        if self.size == 1:
            return
        import torch
        from torch import distributed

        held = list(weights)
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in held]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        for weight, part in zip(held, parts, strict=True):
            weight.grad = part.view_as(weight)

    def sum(self, values: list[float]) -> list[float]:
        """The sum of each value over the team."""
        if self.size == 1:
            return values
        import torch
        from torch import distributed

        total = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(total, group=self._control)
        return [float(value) for value in total]


@cache
def _connect(device_type: str) -> Any:
    """Connects this process to the others, for as long as it lives: torchrun's meeting place does
    not serve a second time. Orders have a group of their own, which waits long."""
    from torch import distributed

    distributed.init_process_group("nccl" if device_type == "cuda" else "gloo")
    atexit.register(distributed.destroy_process_group)
    return distributed.new_group(backend="gloo", timeout=_PATIENCE)
