"""What charts are drawn from: the histories of runs, thinned so that a browser can take them.

A value that was logged but is missing or not finite, and a stretch in which nothing was logged,
stay visible: as a point without a value, which ends the line before it.
"""

import json
from _thread import LockType, allocate_lock
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Lock
from typing import Any

from agent.config.objective import number_of
from agent.server.pages.metrics import NOT_FINITE
from agent.server.store.database import Connection
from agent.server.store.sampling import read_row, value_at
from agent.server.store.streams import MAX_ROWS

CURVE_POINTS = 24_000  # of all curves of one chart together
MOST_PER_CURVE = 120
FEWEST_PER_CURVE = 12
CHART_POINTS = 240  # of one chart of one run
MAX_SERIES = 500  # charts of one run
NAN = float("nan")
GAP = 4  # a distance this many times as long as those on both sides of it is a gap
# step, epoch if it is known, value if it is finite
Point = tuple[float, float | None, float | None]


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


def thin_points(values: Sequence[float | None], count: int) -> list[int]:
    """As `thin`, over the known values; of each run of missing ones a single place stays."""
    known = [place for place, value in enumerate(values) if value is not None]
    kept = [known[i] for i in thin([v for v in values if v is not None], count)]
    if len(known) == len(values):
        return kept
    found: list[int] = []
    for start, end in zip([-1, *kept], [*kept, len(values)], strict=True):
        if start >= 0:
            found.append(start)
        missing = next((place for place in range(start + 1, end) if values[place] is None), None)
        if missing is not None:
            found.append(missing)
    return found


def gaps(places: Sequence[float]) -> list[int]:
    """Where something was left out: every i for which nothing stands between places i and i+1
    though the places before and after lie much closer together."""
    apart = [after - before for before, after in pairwise(places)]
    return [
        i
        for i in range(1, len(apart) - 1)
        if apart[i] > GAP * max(apart[i - 1], apart[i + 1]) and max(apart[i - 1], apart[i + 1]) > 0
    ]


def _with_gaps(points: list[Point]) -> list[Point]:
    """The points, with one without a value in the middle of every gap."""
    found = list(points)
    for i in reversed(gaps([point[0] for point in points])):
        (step, epoch, _), (later, later_epoch, _) = points[i], points[i + 1]
        middle = None if epoch is None or later_epoch is None else (epoch + later_epoch) / 2
        found.insert(i + 1, ((step + later) / 2, middle, None))
    return found


def is_missing(value: Any) -> bool:
    """Whether a logged value stands for a number that is not finite."""
    if isinstance(value, bool):
        return False
    return value in NOT_FINITE or (isinstance(value, int | float) and number_of(value) is None)


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
        kept = [points[place] for place in thin_points([p[2] for p in points], MOST_PER_CURVE)]
        with self._lock:
            self._known[run_id, key] = (revision, kept)
            self._known.move_to_end((run_id, key))
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return kept


def read_curve(connection: Connection, run_id: int, key: str) -> list[Point]:
    """All points of one metric, in order. Only lines that can have the key are parsed."""
    last = key.rsplit(".", 1)[-1]
    ending, escaped = (json.dumps(last, ensure_ascii=is_ascii)[1:] for is_ascii in (False, True))
    rows = connection.execute(
        "SELECT content FROM stream_line WHERE run_id = ? AND stream = 'history' "
        "AND (instr(content, ?) OR instr(content, ?)) ORDER BY number LIMIT ?",
        (run_id, ending, escaped, MAX_ROWS),
    )
    points: list[Point] = []
    for (content,) in rows:
        row = read_row(content) or {}
        logged = value_at(row, key)
        value = number_of(logged)
        if value is not None or is_missing(logged) or (points and _is_null(row, key)):
            step = number_of(row.get("_step"))
            points.append((step or 0.0, number_of(row.get("epoch")), value))
    return _with_gaps(points)


def _is_null(row: dict[str, Any], key: str) -> bool:
    """Whether a line says that the metric has no value, which differs from not naming it."""
    if key in row:
        return row[key] is None
    *path, last = key.split(".")
    inner = value_at(row, ".".join(path)) if path else None
    return isinstance(inner, dict) and last in inner and inner[last] is None


def curves_payload(named: Sequence[tuple[str, list[Point]]], count: int) -> dict[str, Any]:
    """Curves over epochs where all runs know them, else over steps; `count` runs share the
    points that one chart may have."""
    share = max(FEWEST_PER_CURVE, min(MOST_PER_CURVE, CURVE_POINTS // max(1, count)))
    by_epoch = all(point[1] is not None for _, points in named for point in points)
    curves = {}
    for name, points in named:
        kept = [points[place] for place in thin_points([p[2] for p in points], share)]
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
            is_new = key not in self.series
            if is_new and (value is None or len(self.series) >= MAX_SERIES):
                continue
            places, numbers = self.series.setdefault(key, (array("d"), array("d")))
            places.append(place)
            numbers.append(NAN if value is None else value)

    def payload(self, points: int = CHART_POINTS) -> dict[str, Any]:
        """Every series thinned: key -> values, steps, epochs and seconds (None: unknown)."""
        drawn = {}
        for key, (places, numbers) in sorted(self.series.items()):
            kept = thin_points([_known(number) for number in numbers], points)
            rows = [int(places[i]) for i in kept]
            columns = {
                "y": [_known(numbers[i]) for i in kept],
                "step": [_known(self.steps[row]) for row in rows],
                "epoch": [_known(self.epochs[row]) for row in rows],
                "seconds": [_known(self.seconds[row]) for row in rows],
            }
            missing = gaps([self.steps[int(place)] for place in places])
            drawn[key] = _spaced(columns, [places[i] for i in missing], rows)
        return drawn


def _spaced(
    columns: dict[str, list[float | None]], before: Sequence[float], rows: Sequence[int]
) -> dict[str, list[float | None]]:
    """The columns with a point without a value after each of the lines `before` a gap."""
    for line in reversed(before):
        at = bisect_right(rows, int(line))
        if not 0 < at < len(rows):
            continue
        for name, values in columns.items():
            one, other = values[at - 1], values[at]
            if name == "y" or one is None or other is None:
                values.insert(at, None)
            else:
                values.insert(at, (one + other) / 2)
    return columns


def _known(value: float) -> float | None:
    return None if value != value else short(value)


def _numbers(row: dict[str, Any], prefix: str = "") -> list[tuple[str, float | None]]:
    """Every number of a line; NaN for one that is not finite, None for a null."""
    found: list[tuple[str, float | None]] = []
    for key, value in row.items():
        if isinstance(value, dict) and "_type" not in value and prefix.count(".") < 4:
            found += _numbers(value, f"{prefix}{key}.")
        elif key.startswith("_"):
            continue
        elif (number := number_of(value)) is not None or value is None:
            found.append((prefix + key, number))
        elif is_missing(value):
            found.append((prefix + key, NAN))
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
