"""The metric of a run as a number: from its summary and from all that it has logged.

What a summary says is read by `config.objective`; here it is joined with the run's history.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from agent.config.objective import Objective, number_of, summary_number
from agent.server.store.database import Connection
from agent.server.store.records import Run, Sweep
from agent.server.store.sampling import read_row, value_at
from agent.server.store.streams import HISTORY, MAX_ROWS, numbered_lines
from agent.server.store.sweeps import config_of


class HasHistory(Protocol):
    """What a run's curve is remembered by."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def created_at(self) -> float: ...
    @property
    def revision(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Place:
    """A run without its config and summary, which may be long."""

    id: int
    name: str
    created_at: float
    revision: int


@dataclass(frozen=True, slots=True)
class _Read:
    """The curve of a run as far as it has been read."""

    revision: int
    lines: int  # the number of the line that follows
    mark: str  # the line before that one
    values: tuple[float, ...]


class CurveCache:
    """The metric curves of runs; of a run that has logged more only the new lines are read."""

    def __init__(self, size: int = 5000) -> None:
        self._curves: OrderedDict[tuple[object, ...], _Read] = OrderedDict()
        self._size = size
        self._lock = Lock()

    def curve(self, connection: Connection, run: HasHistory, metric: str) -> Sequence[float]:
        """The finite values in the order logged."""
        key = (run.id, run.name, run.created_at, metric)  # an id alone may come again
        with self._lock:
            known = self._curves.get(key)
        if known is not None and known.revision == run.revision:
            return known.values
        read = _read_on(connection, run, metric, known)
        with self._lock:
            self._curves[key] = read
            while len(self._curves) > self._size:
                self._curves.popitem(last=False)
        return read.values


def _read_on(connection: Connection, run: HasHistory, metric: str, known: _Read | None) -> _Read:
    """From where `known` ends if its last line is still there, else from the beginning."""
    if known is not None and known.lines:
        found = numbered_lines(connection, run.id, HISTORY, known.lines - 1, 1)
        if found != [(known.lines - 1, known.mark)]:
            known = None  # wound back, or begun anew
    first = known.lines if known else 0
    rows = numbered_lines(connection, run.id, HISTORY, first, MAX_ROWS)
    found_values = (number_of(value_at(read_row(line) or {}, metric)) for _, line in rows)
    values = (
        *(known.values if known else ()),
        *(value for value in found_values if value is not None),
    )
    lines = rows[-1][0] + 1 if rows else first
    mark = rows[-1][1] if rows else (known.mark if known else "")
    return _Read(run.revision, lines, mark, values)


_CACHE = CurveCache()


def sweep_curves(connection: Connection, sweep_id: int, metric: str) -> dict[str, Sequence[float]]:
    """The curves of all runs of a sweep that have logged the metric."""
    rows = connection.execute(
        "SELECT id, name, created_at, revision FROM run WHERE sweep_id = ? AND history_lines > 0",
        (sweep_id,),
    ).fetchall()
    curves = {}
    for row in rows:
        run = _Place(*row)
        curve = _CACHE.curve(connection, run, metric)
        if curve:
            curves[run.name] = curve
    return curves


def read_ahead(connection: Connection, sweep: Sweep) -> None:
    """Read what a sign of life of an agent will ask for, before the database is held for it."""
    config = config_of(sweep.config)
    needs_curves = config.hyperband or config.method == "bayes"
    needs_target = config.objective is not None and config.objective.target is not None
    if config.metric is not None and (needs_curves or needs_target):
        sweep_curves(connection, sweep.id, config.metric)


def best_and_latest(
    connection: Connection, run: Run, objective: Objective | None
) -> tuple[float | None, float | None]:
    """The best value that the run has reached, as W&B takes it, and its last one; None without."""
    if objective is None:
        return None, None
    curve = _CACHE.curve(connection, run, objective.name) if run.history_lines else []
    said = summary_number(value_at(json.loads(run.summary), objective.name), objective.goal)
    known = curve if said is None else [*curve, said]
    if not known:
        return None, None
    best = max(known) if objective.goal == "maximize" else min(known)
    return best, curve[-1] if curve else said


def best_value(connection: Connection, sweep: Sweep) -> float | None:
    """The best metric over the sweep's runs."""
    objective = config_of(sweep.config).objective
    if objective is None:
        return None
    rows = connection.execute("SELECT * FROM run WHERE sweep_id = ?", (sweep.id,)).fetchall()
    values = [best_and_latest(connection, Run.of(row), objective)[0] for row in rows]
    known = [value for value in values if value is not None]
    if not known:
        return None
    return max(known) if objective.goal == "maximize" else min(known)


def has_reached_target(connection: Connection, sweep: Sweep) -> bool:
    """Whether a run is as good as the `metric.target`, which ends the sweep."""
    objective = config_of(sweep.config).objective
    if objective is None or objective.target is None:
        return False
    return objective.is_reached(best_value(connection, sweep))
