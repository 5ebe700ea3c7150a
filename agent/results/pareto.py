"""The Pareto front of any two metrics."""

from collections.abc import Sequence

from agent.results.columns import Better

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
