"""The choices that `sweep-agent select` acts on, each with its retention as the report has it."""

from dataclasses import dataclass

from agent.results.retention import Retention
from agent.results.selection import Points, Selection, describe_selection, select
from agent.results.study import FamilyReport


@dataclass(frozen=True)
class Choice:
    """The choice for one cell, with its retention of `metric` where that is known."""

    selection: Selection
    retention: Retention | None
    metric: str
    sentence: str = ""

    def describe(self) -> dict[str, object]:
        """As plain JSON, for the commands that act on it."""
        record = describe_selection(self.selection)
        if self.retention is not None and self.retention.value is not None:
            ends = self.retention.interval
            record["retention"] = {
                "metric": self.metric,
                "value": self.retention.value,
                "low": None if ends is None else ends.low,
                "high": None if ends is None else ends.high,
                "examples": None if ends is None else ends.examples,
                "clusters": None if ends is None else ends.clusters,
                "seeds": self.retention.seeds,
                "is_resolved": self.retention.is_resolved,
            }
        return record


def choices_of(family: FamilyReport, points: Points | None = None) -> list[Choice]:
    """The choice for every cell: as reported, or among the named evaluation points. The
    retention goes with a choice only where it is the reported one."""
    if points is None:
        selections = [cell.selection for cell in family.cells]
    else:
        selections = list(select(family.family, points))
    found = []
    for cell, selection in zip(family.cells, selections, strict=True):
        mine, reported = selection.chosen, cell.selection.chosen
        is_reported = (
            mine is not None
            and reported is not None
            and ((mine.tuned, mine.epoch) == (reported.tuned, reported.epoch))
        )
        is_compared = is_reported and not cell.is_baseline
        sentence = family.sentence(cell) if is_compared else ""
        found.append(Choice(selection, cell.best if is_reported else None, family.metric, sentence))
    return found
