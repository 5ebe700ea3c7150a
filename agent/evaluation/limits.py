"""How long the answers of each task may be, and which prompts are answered together."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.config.run_config import RunConfig


@dataclass(frozen=True)
class Limits:
    """Tokens that prompts with their answers, and the answers alone, may have."""

    length: int
    new_tokens: int

    @property
    def total(self) -> int:
        """Tokens of one row, new ones included. A batch may hold `eval_batch_size` times as many:
        more of the shorter prompts take no more memory."""
        return self.length + self.new_tokens


def by_limits(config: RunConfig, tasks: Sequence[str]) -> list[tuple[list[int], Limits]]:
    """The indices of `tasks` in groups of equal limits, the longest first: examples whose answers
    may be long do not share a batch with those whose may not."""
    groups: dict[Limits, list[int]] = {}
    for index, task in enumerate(tasks):
        limits = Limits(config.length_limit(task), config.answer_limit(task))
        groups.setdefault(limits, []).append(index)
    return [(groups[limits], limits) for limits in sorted(groups, key=lambda x: -x.total)]
