"""How many runs a sweep file will have."""

from typing import Any

import pytest

from agent.cluster.submit.points import points_to_run

GRID: dict[str, Any] = {
    "method": "grid",
    "parameters": {"learning_rate": {"values": [1e-4, "1e-4", 1e-3]}, "seed": {"min": 0, "max": 2}},
}


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ({}, 6),
        ({"run_cap": 4}, 4),
        ({"run_cap": 4.0}, 4),
        ({"run_cap": "1e1"}, 6),
        ({"method": "random", "run_cap": "1e1"}, 10),
        ({"method": "random"}, None),
    ],
)
def test_runs_are_counted_as_the_server_counts_them(
    more: dict[str, Any], count: int | None
) -> None:
    assert points_to_run({**GRID, **more}) == count
