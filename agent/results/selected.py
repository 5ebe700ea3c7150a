"""Which runs stand for their variant, as summary keys that only those runs carry.

W&B's bars take the mean over all runs that have a key: under `selected/` they meet one family of
runs, each variant at its own best setting, every seed once, times and memory on one type of GPU.
"""

from collections.abc import Mapping

from agent.results.columns import COLUMNS
from agent.results.comparable import seed_of
from agent.results.costs import cost_of, reference_gpu
from agent.results.run_table import Row, Scalar
from agent.results.study import FamilyReport, Study

PREFIX = "selected/"
Marks = Mapping[tuple[str, str], Mapping[str, Scalar | None]]  # (project, run id) -> summary values


def selected_key(key: str) -> str:
    """`selected/final/validation_f1_score` of `final/validation_f1_score`."""
    return PREFIX + key


def marks_of(study: Study) -> Marks:
    """What to write into the runs' summaries; None takes away what an earlier choice has left."""
    found: dict[tuple[str, str], dict[str, Scalar | None]] = {
        (row.project, row.run_id): dict.fromkeys(k for k in row.values if k.startswith(PREFIX))
        for row in study.rows
    }
    largest = max(study.families, key=lambda f: len(f.family.rows), default=None)
    for row, values in _selected(largest) if largest else []:
        found[row.project, row.run_id] |= values
    return {place: values for place, values in found.items() if values}


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
                selected_key(key): cost.mean for key, cost in known if cost and not cost.other_gpu
            }
            found.append((same[0], {**values, selected_key("variant"): cell.label}))
    return found
