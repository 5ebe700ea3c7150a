"""Which grid points are missing before every choice rests on N seeds: a plan, nothing queued."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.config import RunConfig, group_of
from agent.errors import ReportError
from agent.report.families import Family, seed_of, tuned_values
from agent.report.selection import Candidate, Selection
from agent.report.table import Row, Scalar

ON_ITS_WAY = ("finished", "running", "pending")


@dataclass(frozen=True)
class PlannedPoint:
    """One missing grid point: a config for `RunConfig.parse`, and why it is wanted."""

    config: dict[str, Scalar]
    reason: str


def missing_seeds(
    family: Family, selections: Iterable[Selection], seeds: int
) -> tuple[PlannedPoint, ...]:
    """The points that bring each chosen setting, and each one tied with it, to `seeds` seeds.

    Ties come along because more seeds for the winner alone would only confirm its luck. Seeds
    already there count, whatever their number; new ones are the smallest unused. A failed or
    pruned point is planned again. Confirming points run unpruned: a pruned seed has no final score.
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
    present = {seed_of(r) for r in same if r.state in ON_ITS_WAY and not r.is_pruned}
    free = (seed for seed in range(seeds + len(present)) if seed not in present)
    template = config_of(candidate.rows[0])
    return [
        PlannedPoint({**template, "seed": seed, "pruner": "none"}, reason)
        for seed, _ in zip(free, range(seeds - len(present)), strict=False)
    ]


def config_of(row: Row) -> dict[str, Scalar]:
    """The row's config keys, without what only says where things lie."""
    return {
        name: row.values[name]
        for name, field in RunConfig.model_fields.items()
        if name in row.values and group_of(field) != "operation"
    }
