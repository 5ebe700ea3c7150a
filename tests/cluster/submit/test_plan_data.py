"""What `plan` and `probe` say of examples that are too long, before anything runs."""

from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from agent.cluster.submit import plan_commands, probe
from agent.cluster.submit.plan import PlannedPoint, PointState
from agent.cluster.submit.plan_commands import FilePlan
from agent.config.run_config import RunConfig
from tests.training import lab


def _of_these_points(configs: list[RunConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep of which nothing has run yet, in a project that cannot be read."""
    points = [PlannedPoint(config, {}, PointState.NEW) for config in configs]
    plan = FilePlan(Path("sweep.yaml"), "", {}, points, "me/p")
    monkeypatch.setattr(plan_commands, "_plans", lambda *_: [plan])
    monkeypatch.setattr(plan_commands, "_size_lines", lambda _: [])


def test_plan_counts_for_each_task_and_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def config(**values: Any) -> RunConfig:
        return lab.make_config(tmp_path, max_left_out_share=0.1, **values)

    whole = {"max_new_tokens_by_task": {"document_structuring": 32}}
    _of_these_points([config(**whole), config(learning_rate=1e-4, **whole)], monkeypatch)
    assert main(["plan", "sweep.yaml"]) == 0
    said = capsys.readouterr().out
    assert "sweep.yaml: 2 grid points: 2 waiting" in said
    assert said.count("0 of 4 validation answers max_new_tokens = 32") == 1
    _of_these_points([config()], monkeypatch)
    assert main(["plan", "sweep.yaml"]) == 2
    said = capsys.readouterr().err
    assert "that cuts more than max_left_out_share = 0.1 of the task" in said
    _of_these_points([config(dataset=str(tmp_path / "elsewhere"))], monkeypatch)
    assert main(["plan", "sweep.yaml"]) == 0  # its data lie where it runs


def test_points_of_other_tasks_and_limits_are_probed_each(tmp_path: Path) -> None:
    tasks = ("query_analysis", "document_structuring")
    limits = {"max_length_by_task": {"document_structuring": 500}}
    configs = [
        lab.make_config(tmp_path, task=task, learning_rate=rate, **limits)
        for task in tasks
        for rate in (1e-3, 1e-4)
    ]
    cells = probe.cells_of(configs)
    assert [(name.split()[-2:], len(points)) for name, points in cells.items()] == [
        (["length128", "query_analysis"], 2),
        (["length500", "document_structuring"], 2),
    ]
