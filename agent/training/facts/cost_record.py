"""What a training has cost, as its records hold it; imports nothing heavy."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple


@dataclass(frozen=True)
class StepFlops:
    """FLOPs of forward and backward of one sequence of T tokens with A answer tokens:
    `linear`*T + `quadratic`*T*T + `head`*A.

    Where they cannot be counted, `left_out` says why and they are not a number.
    """

    linear: float
    quadratic: float
    head: float
    left_out: str | None = None

    def of(self, rows: int, length: int, answer_tokens: int) -> float:
        """Of `rows` sequences of `length` tokens with so many answer tokens in all."""
        body = self.linear * length + self.quadratic * length * length
        return rows * body + self.head * answer_tokens


@dataclass(frozen=True)
class Cost:
    """Cumulative cost of a training up to a point.

    Tokens and FLOPs are those of the sequences themselves; with the padding that was computed
    beside them, they are the `padded_` ones. Seconds are those of training alone, without
    validation and without saving.
    """

    train_seconds: float = 0.0
    samples: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    flops: float | None = 0.0  # None where they cannot be counted
    padded_flops: float | None = 0.0
    peak_vram_gb: float | None = None  # None where there is no such memory (CPU)
    peak_reserved_gb: float | None = None
    energy_joules: float | None = None  # of all devices; None where the driver does not tell
    save_seconds: float = 0.0  # step checkpoints
    devices: int = 1
    agents_on_device: int = 1  # that shared each device at last; seconds and energy are shares
    device_seconds: float = 0.0  # of all devices
    flops_left_out: str | None = None  # why they cannot be counted

    def plus(self, work: "Work") -> "Cost":
        return replace(
            self,
            samples=self.samples + round(work.samples),
            tokens=self.tokens + round(work.tokens),
            padded_tokens=self.padded_tokens + round(work.padded_tokens),
            flops=_sum(self.flops, work.flops),
            padded_flops=_sum(self.padded_flops, work.padded_flops),
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Work(NamedTuple):
    """What some forward and backward passes have computed, as plain numbers that can be summed."""

    samples: float = 0.0
    tokens: float = 0.0
    padded_tokens: float = 0.0
    flops: float = 0.0
    padded_flops: float = 0.0

    @classmethod
    def of_pass(
        cls, flops: StepFlops, lengths: Sequence[int], answers: Sequence[int], padded: int
    ) -> "Work":
        """One pass over sequences of these lengths, each padded to `padded` tokens."""
        rows = len(lengths)
        alone = (flops.of(1, t, a) for t, a in zip(lengths, answers, strict=True))
        computed = flops.of(rows, padded, sum(answers))
        return cls(rows, sum(lengths), rows * padded, sum(alone), computed)

    def plus(self, other: "Work") -> "Work":
        return Work(*(a + b for a, b in zip(self, other, strict=True)))


def _sum(before: float | None, more: float) -> float | None:
    return None if before is None or math.isnan(more) else before + more
