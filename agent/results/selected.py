"""Which runs stand for their variant, as summary keys that only those runs carry.

W&B's bars take the mean over all runs that have a key: under `selected/` they meet one family of
runs, each variant at its own best setting, every seed once, times and memory on one type of GPU.
The largest family has that prefix; the others have `selected_2/` and so on, each with its name
under `family`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from agent.results.columns import COLUMNS
from agent.results.comparable import seed_of
from agent.results.costs import cost_of, reference_gpu
from agent.results.run_table import Row, Scalar
from agent.results.study import FamilyReport, Study

_ANY_PREFIX = re.compile(r"selected(_\d+)?/")
Marks = Mapping[tuple[str, str], Mapping[str, Scalar | None]]  # (project, run id) -> summary values


@dataclass(frozen=True)
class SelectedFamily:
    """A family whose choices have keys of their own, and the variants that were chosen."""

    label: str
    number: int  # from 1, the largest family first
    variants: tuple[str, ...]


def selected_key(key: str, number: int = 1) -> str:
    """`selected/final/validation_f1_score` of `final/validation_f1_score`."""
    return f"selected{'' if number == 1 else f'_{number}'}/{key}"


def selected_families(study: Study) -> tuple[SelectedFamily, ...]:
    """The families with a choice, the largest first, of equal ones that with the first run."""
    return tuple(
        SelectedFamily(
            report.label, number, tuple(c.label for c in report.cells if c.selection.chosen)
        )
        for number, report in enumerate(_by_size(study), 1)
    )


def _by_size(study: Study) -> list[FamilyReport]:
    chosen = [f for f in study.families if any(cell.selection.chosen for cell in f.cells)]
    return sorted(chosen, key=lambda report: -len(report.family.rows))


def marks_of(study: Study) -> Marks:
    """What to write into the runs' summaries; None takes away what an earlier choice has left."""
    found: dict[tuple[str, str], dict[str, Scalar | None]] = {
        (row.project, row.run_id): dict.fromkeys(k for k in row.values if _ANY_PREFIX.match(k))
        for row in study.rows
    }
    for number, report in enumerate(_by_size(study), 1):
        for row, values in _selected(report):
            found[row.project, row.run_id] |= {
                selected_key(key, number): value for key, value in values.items()
            }
    return {place: values for place, values in found.items() if values}


def selected_rows(family: FamilyReport) -> list[Row]:
    """The runs that stand for their variants: each at its best setting, of every seed the first."""
    found = []
    for cell in family.cells:
        rows = cell.selection.chosen.rows if cell.selection.chosen else ()
        found += list({seed_of(row): row for row in reversed(rows)}.values())[::-1]
    return found


def _selected(family: FamilyReport) -> list[tuple[Row, dict[str, Scalar]]]:
    complete = [row for row in family.family.rows if row.is_complete]
    gpus = {column.key: reference_gpu(complete, column) for column in COLUMNS}
    found = []
    for cell in family.cells:
        rows = cell.selection.chosen.rows if cell.selection.chosen else ()
        for seed in dict.fromkeys(map(seed_of, rows)):
            same = [row for row in rows if seed_of(row) == seed]  # the first of them stands for all
            known = ((column.key, cost_of(same, column, gpus[column.key])) for column in COLUMNS)
            values: dict[str, Scalar] = {
                key: cost.mean for key, cost in known if cost and not cost.other_gpu
            }
            found.append((same[0], {**values, "variant": cell.label, "family": family.label}))
    return found
