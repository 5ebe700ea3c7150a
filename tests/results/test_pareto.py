import itertools
import random

from agent.results.pareto import Point, front
from agent.results.presentation import Better


def test_size_is_to_be_low_and_score_high() -> None:
    points: list[Point] = [(2.0, 0.8), (0.5, 0.6), (1.0, 0.78), (1.0, 0.8), (0.5, 0.4)]
    assert front(points, ("lower", "higher")) == (1, 3)


def test_equal_points_stand_together() -> None:
    assert front([(1.0, 1.0), (1.0, 1.0), (2.0, 1.0)], ("lower", "higher")) == (0, 1)


def test_a_point_with_a_missing_value_takes_no_part() -> None:
    assert front([(None, 0.9), (1.0, None), (1.0, 0.5)], ("lower", "higher")) == (2,)
    assert front([], ("lower", "lower")) == ()


def test_the_front_is_what_the_definition_says_in_every_direction() -> None:
    generator = random.Random(5)
    points: list[Point] = [(generator.randrange(8), generator.randrange(8)) for _ in range(40)]
    directions: tuple[Better, ...] = ("lower", "higher")
    for x, y in itertools.product(directions, repeat=2):
        signs = tuple(1 if d == "higher" else -1 for d in (x, y))
        seen = [tuple(s * (v or 0) for s, v in zip(signs, p, strict=True)) for p in points]
        expected = {
            i
            for i, p in enumerate(seen)
            if not any(q != p and all(a >= b for a, b in zip(q, p, strict=True)) for q in seen)
        }
        assert set(front(points, (x, y))) == expected
