"""What charts are drawn from: the histories of runs, thinned so that a browser can take them."""

import json
from _thread import LockType, allocate_lock
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from agent.config.objective import number_of
from agent.server.store.database import Connection
from agent.server.store.sampling import read_row, value_at
from agent.server.store.streams import MAX_ROWS

CURVE_POINTS = 24_000  # of all curves of one chart together
MOST_PER_CURVE = 120
FEWEST_PER_CURVE = 12
CHART_POINTS = 240  # of one chart of one run
MAX_SERIES = 500  # charts of one run
NAN = float("nan")
Point = tuple[float, float | None, float]  # step, epoch if it is known, value


def thin(values: Sequence[float], count: int) -> list[int]:
    """Which of the values to draw: at most `count` places, with both ends and every extreme.

    The range is cut into pieces of equal length, and the lowest and highest of each piece stay.
    """
    total = len(values)
    if total <= count:
        return list(range(total))
    pieces = max(1, (count - 2) // 2)
    kept = {0, total - 1}
    for piece in range(pieces):
        places = range(piece * total // pieces, (piece + 1) * total // pieces)
        kept.add(min(places, key=values.__getitem__))
        kept.add(max(places, key=values.__getitem__))
    return sorted(kept)


class CurveCache:
    """One metric over many runs, remembered per revision of each run."""

    def __init__(self, size: int = 5_000) -> None:
        self._known: OrderedDict[tuple[int, str], tuple[int, list[Point]]] = OrderedDict()
        self._size = size
        self._lock = Lock()

    def curve(self, connection: Connection, run_id: int, revision: int, key: str) -> list[Point]:
        with self._lock:
            known = self._known.get((run_id, key))
        if known is not None and known[0] == revision:
            return known[1]
        points = read_curve(connection, run_id, key)
        kept = [points[place] for place in thin([p[2] for p in points], MOST_PER_CURVE)]
        with self._lock:
            self._known[run_id, key] = (revision, kept)
            self._known.move_to_end((run_id, key))
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return kept


def read_curve(connection: Connection, run_id: int, key: str) -> list[Point]:
    """All points of one metric, in order. Only lines that can have the key are parsed."""
    ending = json.dumps(key.rsplit(".", 1)[-1], ensure_ascii=False)[1:]
    rows = connection.execute(
        "SELECT content FROM stream_line WHERE run_id = ? AND stream = 'history' "
        "AND instr(content, ?) ORDER BY number LIMIT ?",
        (run_id, ending, MAX_ROWS),
    )
    points: list[Point] = []
    for (content,) in rows:
        row = read_row(content) or {}
        value = number_of(value_at(row, key))
        if value is not None:
            step = number_of(row.get("_step"))
            points.append((step or 0.0, number_of(row.get("epoch")), value))
    return points


def curves_payload(named: Sequence[tuple[str, list[Point]]], count: int) -> dict[str, Any]:
    """Curves over epochs where all runs know them, else over steps; `count` runs share the
    points that one chart may have."""
    share = max(FEWEST_PER_CURVE, min(MOST_PER_CURVE, CURVE_POINTS // max(1, count)))
    by_epoch = all(point[1] is not None for _, points in named for point in points)
    curves = {}
    for name, points in named:
        kept = [points[place] for place in thin([p[2] for p in points], share)]
        xs = [point[1] if by_epoch else point[0] for point in kept]
        curves[name] = [[short(x) for x in xs], [short(point[2]) for point in kept]]
    return {"x": "Epoch" if by_epoch else "Step", "curves": curves}


def short(value: float | None) -> float | None:
    """Fewer digits on the wire than a chart could show anyway."""
    return None if value is None else float(f"{value:.5g}")


@dataclass(slots=True)
class History:
    """The numbers of one line stream of one run, as far as it has been read."""

    next_number: int = 0
    last_line: str = ""
    steps: "array[float]" = field(default_factory=lambda: array("d"))
    epochs: "array[float]" = field(default_factory=lambda: array("d"))
    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    series: dict[str, tuple["array[float]", "array[float]"]] = field(default_factory=dict)
    lock: LockType = field(default_factory=allocate_lock)

    def forget(self) -> None:
        """Begin again, as the run has."""
        self.next_number, self.last_line = 0, ""
        for values in (self.steps, self.epochs, self.seconds):
            del values[:]
        self.series.clear()

    def take(self, content: str) -> None:
        """Add one line: each of its numbers under the place of the line."""
        row = read_row(content) or {}
        place = len(self.steps)
        for values, key in (
            (self.steps, "_step"),
            (self.epochs, "epoch"),
            (self.seconds, "_runtime"),
        ):
            found = number_of(row.get(key))
            values.append(NAN if found is None else found)
        for key, value in _numbers(row):
            if key not in self.series and len(self.series) >= MAX_SERIES:
                continue
            places, numbers = self.series.setdefault(key, (array("d"), array("d")))
            places.append(place)
            numbers.append(value)

    def payload(self, points: int = CHART_POINTS) -> dict[str, Any]:
        """Every series thinned: key -> values, steps, epochs and seconds (None: unknown)."""
        drawn = {}
        for key, (places, numbers) in sorted(self.series.items()):
            kept = thin(numbers, points)
            rows = [int(places[i]) for i in kept]
            drawn[key] = {
                "y": [short(numbers[i]) for i in kept],
                "step": [_known(self.steps[row]) for row in rows],
                "epoch": [_known(self.epochs[row]) for row in rows],
                "seconds": [_known(self.seconds[row]) for row in rows],
            }
        return drawn


def _known(value: float) -> float | None:
    return None if value != value else short(value)


def _numbers(row: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in row.items():
        if isinstance(value, dict) and "_type" not in value and prefix.count(".") < 4:
            found += _numbers(value, f"{prefix}{key}.")
        elif (number := number_of(value)) is not None and not key.startswith("_"):
            found.append((prefix + key, number))
    return found


class HistoryCache:
    """Histories that are being looked at: when a run goes on, only its new lines are read."""

    def __init__(self, size: int = 16) -> None:
        self._known: OrderedDict[tuple[int, str], History] = OrderedDict()
        self._size = size
        self._lock = Lock()

    def payload(self, connection: Connection, run_id: int, stream: str) -> dict[str, Any]:
        """The thinned series of a run's `history` or `events`."""
        with self._lock:
            history = self._known.setdefault((run_id, stream), History())
            self._known.move_to_end((run_id, stream))
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        with history.lock:  # one reader of a history at a time: it is changed in place
            if not _goes_on(connection, run_id, stream, history):
                history.forget()
            rows = connection.execute(
                "SELECT number, content FROM stream_line WHERE run_id = ? AND stream = ? "
                "AND number >= ? ORDER BY number LIMIT ?",
                (run_id, stream, history.next_number, MAX_ROWS),
            )
            for number, content in rows:
                history.take(content)
                history.next_number, history.last_line = number + 1, content
            return history.payload()


def _goes_on(connection: Connection, run_id: int, stream: str, history: History) -> bool:
    """Whether what was read is still the beginning: a run that starts anew begins again."""
    if history.next_number == 0:
        return True
    row = connection.execute(
        "SELECT content FROM stream_line WHERE run_id = ? AND stream = ? AND number = ?",
        (run_id, stream, history.next_number - 1),
    ).fetchone()
    return row is not None and row[0] == history.last_line
