"""The Pareto front of any two metrics, over runs that may stand on one."""

import statistics
from collections.abc import Sequence

from agent.results.columns import TOKENS_OUT, Better, Column
from agent.results.comparable import gpu_of
from agent.results.costs import SAME_LENGTH, reference_gpu
from agent.results.run_table import Row

Point = tuple[float | None, float | None]


def front(points: Sequence[Point], better: tuple[Better, Better]) -> tuple[int, ...]:
    """Indices of the points that no other point beats, in order of the first metric.

    A point is beaten when another is at least as good in both metrics and better in one; equal
    points stand together. Points with a missing value take no part.
    """
    signs = tuple(1.0 if direction == "higher" else -1.0 for direction in better)
    known = [
        (signs[0] * x, signs[1] * y, index)
        for index, (x, y) in enumerate(points)
        if x is not None and y is not None
    ]
    kept: list[int] = []
    best_y = -float("inf")
    best_x = float("inf")
    for x, y, index in sorted(known, key=lambda point: (-point[0], -point[1], point[2])):
        if y > best_y or (y == best_y and x == best_x):
            kept.append(index)
            best_x, best_y = x, y
    return tuple(sorted(kept, key=lambda index: (points[index][0] or 0.0, index)))


def front_of(rows: Sequence[Row], x: Column, y: Column) -> tuple[int, ...]:
    """Indices of the runs on the front of two metrics, among the runs that are alike in both."""
    alike = [comparable_in(rows, column) for column in (x, y)]
    kept = [index for index, pair in enumerate(zip(*alike, strict=True)) if all(pair)]
    points = [(rows[index].number(x.key), rows[index].number(y.key)) for index in kept]
    return tuple(kept[place] for place in front(points, (x.better, y.better)))


def comparable_in(rows: Sequence[Row], column: Column) -> tuple[bool, ...]:
    """For each row, whether its value of the metric was measured like that of most rows.

    Times and memory on the type of GPU that most have it from; cost per answer where the answers
    are about as long as the median one. A row that says neither is taken as like the others.
    """
    reference = reference_gpu(rows, column)
    is_known = [row.number(column.key) is not None for row in rows]
    lengths = [
        length
        for row, known in zip(rows, is_known, strict=True)
        if known and (length := row.number(TOKENS_OUT)) is not None
    ]
    median = statistics.median(lengths) if lengths and column.is_per_answer else None

    def is_alike(row: Row) -> bool:
        length = row.number(TOKENS_OUT)
        is_short = (
            median is not None
            and length is not None
            and not (median / SAME_LENGTH <= length <= median * SAME_LENGTH)
        )
        gpu = gpu_of(row, column.group) if reference else None
        return gpu in (None, reference) and not is_short

    return tuple(known and is_alike(row) for row, known in zip(rows, is_known, strict=True))
