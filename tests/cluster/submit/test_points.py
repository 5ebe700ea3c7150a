"""How many runs a sweep file will have."""

from pathlib import Path
from typing import Any

import pytest

from agent.cluster.submit.points import check_ends, check_lists, points_to_run
from agent.errors import ConfigError

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


def test_a_search_without_an_end_is_refused_with_the_way_out() -> None:
    path = Path("s.yaml")
    for method in ("random", "bayes"):
        with pytest.raises(ConfigError, match=rf"s\.yaml: a {method} search without run_cap never"):
            check_ends({path: {**GRID, "method": method}})
        check_ends({path: {**GRID, "method": method, "run_cap": 24}})
    check_ends({path: GRID})


def test_what_cannot_run_without_a_server_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"s\.yaml: method = 'random': without a server only a"):
        check_lists([], {Path("s.yaml"): {**GRID, "method": "random", "run_cap": 24}})
    with pytest.raises(ConfigError, match="e/p/s: give its YAML instead"):
        check_lists(["e/p/s"], {})
    check_lists([], {Path("s.yaml"): GRID})
