"""The plan of a training: which examples make which step, at which rate, and where it is judged.

Pure functions of the config and the sequence lengths, so that any worker that takes a training
over continues the very same one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from agent.config.run_config import RunConfig
from agent.errors import DataError

# Weight of one more forward pass, in tokens: what launching its kernels takes on a GPU.
PASS_TOKENS = 256
# Passes are padded to a multiple of so many tokens, and batches cut at multiples of such a part of
# their sequences: the fewer shapes there are, the fewer kernels are made for them. On a CPU oneDNN
# compiles one for every new shape (0.4 ms, several products' time in a small model), and on a GPU
# odd lengths miss the fastest kernels.
LENGTH_STEP = 4
BATCH_PARTS = 8
# The rule of `Plan`, part of every training key: change it when the steps come out otherwise.
PLAN_FORMAT = (
    "batches at random by seed and epoch, the costliest first; passes of like length, longest "
    f"first, fewest padded tokens with {PASS_TOKENS} for each pass, lengths in steps of "
    f"{LENGTH_STEP}, cut at {BATCH_PARTS}ths of a batch; loss by chunks of answers; LoRA products "
    "in the compute dtype / 5"
)


@dataclass(frozen=True)
class Plan:
    """Steps count from 1; evaluation point k (from 1) is reached after `point_steps[k - 1]`."""

    lengths: tuple[int, ...]  # tokens of each training sequence
    batch_size: int
    epochs: int
    eval_every: float
    seed: int
    forward_batch_size: int | None = None  # sequences of one forward pass; batch_size when None

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    @cached_property
    def point_steps(self) -> tuple[int, ...]:
        """Strictly increasing; the last is the end of the training."""
        count = math.floor(self.epochs / self.eval_every + 1e-9)
        # Rounded twice: 17 * 0.1 * 25 is a little above 42.5 in floating point.
        exact = (round(k * self.eval_every * self.steps_per_epoch, 6) for k in range(1, count + 1))
        marks = map(round, exact)
        steps = sorted({min(mark, self.total_steps) for mark in marks if mark > 0})
        if not steps or steps[-1] != self.total_steps:
            steps.append(self.total_steps)
        return tuple(steps)

    def epoch_of(self, step: int) -> float:
        """Passes over the data completed after `step`."""
        return step / self.steps_per_epoch

    def batch(self, step: int) -> list[int]:
        """Indices of the sequences of `step`, the longest first. The costliest batch comes first
        of all, so that a training that does not fit into memory fails in its first step and not
        in its last."""
        epoch, position = divmod(step - 1, self.steps_per_epoch)
        if epoch == 0:
            return self._first_epoch[position]
        return self._epoch_batches(epoch)[position]

    def passes(self, indices: Sequence[int]) -> list[list[int]]:
        """The forward passes of a batch, or of one device's share of it."""
        limit = self.forward_batch_size or self.batch_size
        return passes_of_like_length(self.lengths, indices, limit)

    @cached_property
    def _first_epoch(self) -> list[list[int]]:
        batches = self._epoch_batches(0)
        costly = max(range(len(batches)), key=lambda i: self._cost(batches[i]))
        batches[0], batches[costly] = batches[costly], batches[0]
        return batches

    def _epoch_batches(self, epoch: int) -> list[list[int]]:
        """What trains together is drawn at random, whatever its length: grouping whole batches by
        length would also group them by task."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.lengths)).tolist()
        starts = range(0, len(order), self.batch_size)
        return [_longest_first(self.lengths, order[i : i + self.batch_size]) for i in starts]

    def padded_length(self, part: Sequence[int]) -> int:
        """Tokens that each sequence of a forward pass is padded to: never beyond the longest of
        all, which the model has positions for."""
        longest = max(self.lengths[i] for i in part)
        return min(_rounded_up(longest), self._longest)

    @cached_property
    def _longest(self) -> int:
        return max(self.lengths)

    def _cost(self, indices: Sequence[int]) -> int:
        """Tokens of the largest forward pass of a batch: what memory depends on."""
        return max(len(part) * self.padded_length(part) for part in self.passes(indices))


def passes_of_like_length(
    lengths: Sequence[int], indices: Sequence[int], limit: int
) -> list[list[int]]:
    """Split a batch into forward passes of at most `limit` sequences, the longest first.

    Of all ways to cut the sequences sorted by length at multiples of a `BATCH_PARTS`th of them,
    the one that computes the fewest tokens, padding included, where a pass more weighs
    `PASS_TOKENS`.
    """
    ordered = _longest_first(lengths, indices)
    step = max(1, min(limit, len(ordered) // BATCH_PARTS))
    least, cuts = [0], [0]  # least[n]: of the first n sequences, whose last pass begins at cuts[n]
    for end in range(1, len(ordered) + 1):
        first = max(0, end - limit)
        starts = range(-(-first // step) * step, end, step)
        cost, cut = min(
            (least[i] + PASS_TOKENS + (end - i) * _rounded_up(lengths[ordered[i]]), i)
            for i in starts
        )
        least.append(cost)
        cuts.append(cut)
    passes, end = [], len(ordered)
    while end:
        passes.append(ordered[cuts[end] : end])
        end = cuts[end]
    return passes[::-1]


def _rounded_up(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP


def _longest_first(lengths: Sequence[int], indices: Sequence[int]) -> list[int]:
    return sorted(indices, key=lambda i: (-lengths[i], i))


def make_plan(config: RunConfig, lengths: Sequence[int]) -> Plan:
    if not lengths:
        raise DataError(
            f"no training example fits into max_length = {config.max_length} tokens; raise it"
        )
    return Plan(
        tuple(lengths),
        config.batch_size,
        config.epochs,
        config.eval_every,
        config.seed,
        config.forward_batch_size,
    )


def learning_rate_at(config: RunConfig, step: int, total_steps: int) -> float:
    """Linear warm-up over `warmup_ratio` of all steps, then the schedule down to 0 at the end."""
    warmup = math.ceil(config.warmup_ratio * total_steps)
    if step <= warmup:
        return config.learning_rate * step / warmup
    done = (step - warmup - 1) / max(1, total_steps - warmup)
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    return config.learning_rate * (1 - done if config.schedule == "linear" else 1.0)
