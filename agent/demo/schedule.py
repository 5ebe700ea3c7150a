"""In which order the demo's agents take its sweeps: pure decisions."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.config import sweep_yaml


@dataclass(frozen=True)
class Turn:
    """A sweep and the sweeps that have to end before its runs are worth starting."""

    sweep: str
    points: int
    after: frozenset[str] = frozenset()


def turns(sweeps: Mapping[str, Mapping[str, Any]]) -> list[Turn]:
    """One for each sweep, by its name. A sweep whose every training belongs to sweeps before it
    comes after those: its runs then find points and scores in the store and end at once."""
    owners: dict[str, str] = {}  # training → the first sweep that has it
    found = []
    for name, sweep in sweeps.items():
        points = sweep_yaml.configs(sweep, where=name)
        keys = {point.training_key({}) for point in points}
        if keys <= owners.keys():
            found.append(Turn(name, len(points), frozenset(owners[key] for key in keys)))
            continue
        owners |= dict.fromkeys(keys - owners.keys(), name)
        found.append(Turn(name, len(points)))
    return found


def split(found: Sequence[Turn]) -> tuple[list[Turn], list[Turn]]:
    """The turns that train, in order, and those that only follow."""
    return [turn for turn in found if not turn.after], [turn for turn in found if turn.after]


def agents_for(turns: Sequence[Turn], wanted: int | None, cores: int | None = None) -> int:
    """How many agents work side by side: as `wanted`, else as many as there are cores, and no more
    than there are points. With one more, runs that are to be stopped train on while they wait for
    their turn on a core, which costs more than a core that is idle between two runs.
    """
    cores = cores or len(os.sched_getaffinity(0))
    return wanted or max(1, min(cores, sum(turn.points for turn in turns)))
