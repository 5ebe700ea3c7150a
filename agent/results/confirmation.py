"""Which grid points are missing before every choice rests on N seeds, and the sweeps of them.

A plan and nothing more: `wandb_sweeps` queues it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.config.run_config import RunConfig, digest
from agent.config.run_fields import group_of
from agent.errors import ReportError
from agent.results.columns import CURVE
from agent.results.comparable import Family, seed_of, tuned_values
from agent.results.outcome import Outcome
from agent.results.run_table import Row, Scalar
from agent.results.selection import Candidate, Selection


@dataclass(frozen=True)
class PlannedPoint:
    """One missing grid point: a config for `RunConfig.parse`, why it is wanted, and the run whose
    seed it changes."""

    config: dict[str, Scalar]
    reason: str
    like: Row

    @property
    def key(self) -> str:
        """The identity by which it is found in a sweep that is queued already."""
        return RunConfig.parse(self.config, where=f"the seed of {self.like.run_id}").point_key()


@dataclass(frozen=True)
class PlannedSweep:
    """A grid sweep over the missing seeds of one setting, as `wandb.sweep` takes it."""

    config: dict[str, object]
    like: Row

    @property
    def name(self) -> str:
        return str(self.config["name"])


def missing_seeds(
    family: Family, selections: Iterable[Selection], seeds: int
) -> tuple[PlannedPoint, ...]:
    """The points that bring each chosen setting, and each one tied with it, to `seeds` seeds.

    Ties come along because more seeds for the winner alone would only confirm its luck. Seeds
    already there count, whatever their number; new ones are the smallest unused. A failed or
    pruned point is planned again; a diverged one is not, because it would diverge again.
    Confirming points run unpruned: a pruned seed has no final score.
    """
    if seeds < 1:
        raise ReportError(f"--confirm-seeds {seeds}: must be at least 1")
    planned: list[PlannedPoint] = []
    for selection in selections:
        if selection.chosen is None:
            continue
        rows = family.cells[selection.cell]
        wanted = [(selection.chosen, "chosen")]
        wanted += [(candidate, "tied with the chosen one") for candidate, _ in selection.ties]
        for candidate, why in wanted:
            reason = f"{selection.label}, {candidate.label}: {why}"
            planned += _plan(candidate, rows, seeds, reason)
    return tuple(planned)


def _plan(candidate: Candidate, rows: Sequence[Row], seeds: int, reason: str) -> list[PlannedPoint]:
    same = [row for row in rows if tuned_values(row) == candidate.tuned]
    present = {seed_of(r) for r in same if r.outcome.is_complete or r.outcome.is_running}
    taken = present | {seed_of(r) for r in same if r.outcome is Outcome.DIVERGED}
    free = (seed for seed in range(seeds + len(taken)) if seed not in taken)
    template = config_of(candidate.rows[0])
    return [
        PlannedPoint({**template, "seed": seed, "pruner": "none"}, reason, candidate.rows[0])
        for seed, _ in zip(free, range(seeds - len(present)), strict=False)
    ]


def config_of(row: Row, *, with_operation: bool = False) -> dict[str, Scalar]:
    """The row's config keys, without what only says where things lie."""
    return {
        name: row.values[name]
        for name, field in RunConfig.model_fields.items()
        if name in row.values and (with_operation or group_of(field) != "operation")
    }


PROGRAM = "train.py"
COMMAND = ("${env}", "${interpreter}", "${program}", "--config", "${args_json_file}")


def sweeps_of(points: Iterable[PlannedPoint]) -> tuple[PlannedSweep, ...]:
    """One grid per setting, its seeds the only thing that varies.

    The points run where the run lies that they are like: in its store, on its device.
    """
    settings: dict[str, list[PlannedPoint]] = {}
    for point in points:
        others = {name: value for name, value in point.config.items() if name != "seed"}
        settings.setdefault(digest([point.like.project, others]), []).append(point)
    return tuple(_sweep(members) for members in settings.values())


def _sweep(points: Sequence[PlannedPoint]) -> PlannedSweep:
    first = points[0]
    given = {**config_of(first.like, with_operation=True), **first.config}
    seeds = sorted({point.config["seed"] for point in points}, key=lambda seed: int(seed))
    # through RunConfig, so that what a row holds as text is the list or object it stands for
    typed = RunConfig.parse(given, where=f"the config of run {first.like.run_id}")
    values = typed.model_dump(mode="json", include=set(given))
    parameters = {name: {"value": value} for name, value in values.items() if name != "seed"}
    config: dict[str, object] = {
        "name": f"seeds of {typed.display_name()}",
        "program": PROGRAM,
        "method": "grid",
        "command": list(COMMAND),
        "metric": {"name": CURVE, "goal": "maximize"},
        "parameters": {**parameters, "seed": {"values": seeds}},
    }
    return PlannedSweep(config, first.like)
