"""`early_terminate: hyperband`: which running runs are not worth going on. Pure, but for the cache.

At every band (a number of logged values) the runs that reached it are ranked by their best value
up to there; the best 1/eta of them go on. A run is judged at the last band it has passed, in strict
mode at every band it has passed.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from agent.server.store.database import Connection
from agent.server.store.records import Run
from agent.server.store.sampling import read_row, value_at
from agent.server.store.streams import HISTORY, lines_between
from agent.server.store.sweep_config import Hyperband


def hopeless_runs(
    curves: Mapping[str, Sequence[float]], bands: Hyperband, goal: str
) -> dict[str, int]:
    """Runs that should stop, with the band at which they fell behind.

    `curves` holds the metric's values, in the order logged, of all runs of the sweep.
    """
    sign = -1.0 if goal == "maximize" else 1.0
    behind: dict[str, int] = {}
    for name, curve in curves.items():
        passed = [band for band in bands.bands if band <= len(curve)]
        for band in passed if bands.is_strict else passed[-1:]:
            peers = [other for other in curves.values() if len(other) >= band]
            ranked = sorted(_best(other, band, sign) for other in peers)
            threshold = ranked[min(int(len(ranked) / bands.eta), len(ranked) - 1)]
            if _best(curve, band, sign) > threshold:
                behind[name] = band
                break
    return behind


def _best(curve: Sequence[float], band: int, sign: float) -> float:
    """The best of the first `band` values, so that smaller is better."""
    return min(sign * value for value in curve[:band])


class CurveCache:
    """The metric curves of runs, read again only when a run has logged more."""

    def __init__(self, size: int = 5000) -> None:
        self._curves: OrderedDict[tuple[int, str], tuple[int, list[float]]] = OrderedDict()
        self._size = size

    def curve(self, connection: Connection, run: Run, metric: str) -> list[float]:
        known = self._curves.get((run.id, metric))
        if known is not None and known[0] == run.revision:
            return known[1]
        curve = []
        for line in lines_between(connection, run.id, HISTORY):
            value = value_at(read_row(line) or {}, metric)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and value == value:
                curve.append(float(value))
        self._curves[run.id, metric] = (run.revision, curve)
        while len(self._curves) > self._size:
            self._curves.popitem(last=False)
        return curve


_CACHE = CurveCache()


def sweep_curves(connection: Connection, sweep_id: int, metric: str) -> dict[str, list[float]]:
    """The curves of all runs of a sweep that have logged the metric. Call under the write lock."""
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
