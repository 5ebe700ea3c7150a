"""The metric of a run as a number: from its summary and from all that it has logged.

What a summary says is read by `config.objective`; here it is joined with the run's history.
"""

import json
from collections import OrderedDict
from threading import Lock

from agent.config.objective import Objective, number_of, summary_number
from agent.server.store.database import Connection
from agent.server.store.records import Run, Sweep
from agent.server.store.sampling import read_row, value_at
from agent.server.store.streams import HISTORY, lines_between
from agent.server.store.sweeps import config_of


class CurveCache:
    """The metric curves of runs, read again only when a run has logged more."""

    def __init__(self, size: int = 5000) -> None:
        self._curves: OrderedDict[tuple[object, ...], tuple[int, list[float]]] = OrderedDict()
        self._size = size
        self._lock = Lock()

    def curve(self, connection: Connection, run: Run, metric: str) -> list[float]:
        """The finite values in the order logged."""
        key = (run.id, run.name, run.created_at, metric)  # an id alone may come again
        with self._lock:
            known = self._curves.get(key)
        if known is not None and known[0] == run.revision:
            return known[1]
        values = (
            number_of(value_at(read_row(line) or {}, metric))
            for line in lines_between(connection, run.id, HISTORY)
        )
        curve = [value for value in values if value is not None]
        with self._lock:
            self._curves[key] = (run.revision, curve)
            while len(self._curves) > self._size:
                self._curves.popitem(last=False)
        return curve


_CACHE = CurveCache()


def sweep_curves(connection: Connection, sweep_id: int, metric: str) -> dict[str, list[float]]:
    """The curves of all runs of a sweep that have logged the metric."""
    rows = connection.execute(
        "SELECT * FROM run WHERE sweep_id = ? AND history_lines > 0", (sweep_id,)
    ).fetchall()
    curves = {}
    for row in rows:
        run = Run.of(row)
        curve = _CACHE.curve(connection, run, metric)
        if curve:
            curves[run.name] = curve
    return curves


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
