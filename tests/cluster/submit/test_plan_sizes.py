from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from agent.cluster.submit.plan_commands import _size_lines
from agent.errors import TrackingError
from agent.results.run_table import Row
from agent.tracking import project_runs
from tests.results.known_table import run

SCORES = {f"e{i}": float(i % 5 > 0) for i in range(300)}


def _project(rows: Sequence[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    """A project whose listing has no example scores: those are loaded for the chosen runs."""
    whole = {row.run_id: row for row in rows}

    def read(paths: Sequence[str], **more: Any) -> tuple[Row, ...]:
        assert (list(paths), more) == (["me/p"], {"with_examples": False, "with_curves": False})
        return tuple(replace(row, scores={}) for row in rows)

    monkeypatch.setattr(project_runs, "read_projects", read)
    monkeypatch.setattr(project_runs, "loader_of", lambda _: lambda row: whole[row.run_id])


def test_the_plan_says_how_many_examples_and_seeds_are_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        run(cell, 1e-3, 0.8, seed=seed, scores=SCORES, train__own_gpu_seconds=3600.0)
        for cell in ("full", "qlora4")
        for seed in range(2)
    ]
    _project(rows, monkeypatch)
    first, one, three = _size_lines("me/p")
    assert "from the spread seen so far" in first
    assert "n = 300" in first
    assert one.startswith("  1 %: ")
    assert three.startswith("  3 %: ")
    assert "GPU hours" in three


def test_a_project_that_cannot_be_read_costs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise TrackingError("project 'p' cannot be read: no answer")

    monkeypatch.setattr(project_runs, "read_projects", fail)
    (line,) = _size_lines("me/p")
    assert line == "numbers of examples and seeds: project 'p' cannot be read: no answer"
