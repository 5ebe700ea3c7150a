"""Importance of parameters, where the answer is known."""

import json
import subprocess
import sys

import pytest

from agent.config.objective import Goal
from agent.search.importance import importances

POINTS = [
    {"learning_rate": rate, "optimizer": optimizer, "seed": seed, "epochs": 3}
    for rate in (1e-5, 1e-4, 1e-3, 1e-2)
    for optimizer in ("adam", "sgd")
    for seed in (0, 1)
]


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
@pytest.mark.parametrize("key", ["learning_rate", "optimizer"])
def test_the_parameter_that_decides_comes_first_and_a_constant_one_is_left_out(
    key: str, goal: Goal
) -> None:
    values = [
        (float(point[key] == "adam") if key == "optimizer" else -abs(place // 4 - 2.2))
        + place * 7 % 16 / 1000
        for place, point in enumerate(POINTS)
    ]
    found = importances(POINTS, values, goal)
    assert next(iter(found)) == key
    assert set(found) == {"learning_rate", "optimizer", "seed"}
    assert sum(found.values()) == pytest.approx(1)


def test_too_few_runs_or_nothing_that_differs_have_no_importance() -> None:
    assert importances([], [], "minimize") == {}
    assert importances(POINTS[:3], [1.0, 2.0, 3.0], "minimize") == {}
    assert importances([{"a": 1}] * 6, [1.0, 2, 3, 4, 5, 6], "minimize") == {}
    assert importances(POINTS, [0.5] * len(POINTS), "minimize") == {}


def test_a_parameter_that_some_points_lack_is_left_out_and_mixed_kinds_are_categories() -> None:
    points = [{"a": i % 2 or "none", "b": i, **({"c": 1} if i else {})} for i in range(8)]
    assert set(importances(points, [float(i % 2) for i in range(8)], "maximize")) == {"a", "b"}


def test_as_a_program_it_answers_in_json() -> None:
    request = {"points": POINTS, "values": [float(i) for i in range(16)], "goal": "maximize"}
    program = [sys.executable, "-m", "agent.search.importance"]
    answer = subprocess.run(
        program, input=json.dumps(request), capture_output=True, text=True, check=True
    )
    assert next(iter(json.loads(answer.stdout))) == "learning_rate"
