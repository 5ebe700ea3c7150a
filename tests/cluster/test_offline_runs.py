"""Runs that tasks without a server have left on disk."""

from pathlib import Path

from agent.cluster.offline_runs import offline_runs, with_offline
from agent.cluster.point_queue import PointList
from agent.cluster.submit.plan import PointState, plan_points, to_fill
from agent.cluster.submit.point_commands import make_claim
from agent.cluster.submit.status import Report, SweepStatus, counts_of
from agent.cluster.submit.status_text import status_lines
from agent.config.run_config import RunConfig
from agent.tracking.reader import RunFacts

VALUES: dict[str, object] = {
    "model_variant": "Full LoRA",
    "dataset": "team/data",
    "base_model": "team/model",
}
STATES = ["done", "failed", "running", "running", ""]


def leave(state_dir: Path) -> list[str]:
    """Five points of a list, one of them not begun; the ids of their runs."""
    directory = state_dir / "points" / "1"
    directory.mkdir(parents=True)
    claims = [
        make_claim(
            "e/p/s",
            {"command": ["true"]},
            {**VALUES, "learning_rate": rate * 1e-4},
            run_id="",
            directory=directory,
            work_dir=state_dir,
        )
        for rate in range(1, 6)
    ]
    points = PointList.create(directory, claims)
    for number, state in enumerate(STATES):
        if not state:
            continue
        taken = points.take(f"12_{number}-0", lambda task: True)
        assert taken is not None
        if state != "running":
            points.finish(taken.run_id, state)
        name = f"offline-run-20261127_072357-{taken.run_id}"
        (state_dir / "wandb" / "wandb" / name).mkdir(parents=True)
    return [claim.run_id for claim in claims]


def test_a_run_on_disk_is_not_synced_failed_running_or_cut_off(tmp_path: Path) -> None:
    ids = leave(tmp_path)
    found = offline_runs(tmp_path, lambda task: task == "12_2")
    assert [run.facts.run_id for run in found] == ids[:4]
    assert [run.facts.state for run in found] == ["not synced", "failed", "running", "crashed"]
    assert {run.sweep for run in found} == {"e/p/s"}
    status = SweepStatus("e/p/s", "PENDING", 5, [run.facts for run in found])
    assert {word: count for word, count in counts_of(status).items() if count} == {
        "not synced": 1,
        "failed": 1,
        "running": 1,
        "cut off": 1,
        "waiting": 1,
    }
    assert "1 not synced" in status_lines(Report([status]))[0]


def test_a_run_that_was_synced_is_the_servers(tmp_path: Path) -> None:
    ids = leave(tmp_path)
    for path in (tmp_path / "wandb" / "wandb").glob(f"*-{ids[0]}"):
        (path / f"run-{ids[0]}.wandb.synced").touch()
    found = offline_runs(tmp_path, lambda task: False)
    assert [run.facts.run_id for run in found] == ids[1:4]
    known = RunFacts(ids[1], "x", "finished", "s")
    assert [run.run_id for run in with_offline([known], found)] == ids[1:4]


def test_fill_does_not_train_again_what_waits_for_its_sync(tmp_path: Path) -> None:
    leave(tmp_path)
    runs = with_offline([], offline_runs(tmp_path, lambda task: True))
    values = [{**VALUES, "learning_rate": rate * 1e-4} for rate in range(1, 6)]
    planned = plan_points([(each, RunConfig.parse(each)) for each in values], runs)
    states = [PointState.UNSYNCED, PointState.FAILED, *[PointState.RUNNING] * 2]
    assert [point.state for point in planned] == [*states, PointState.NEW]
    assert len(to_fill(planned, failed=False)) == 1


def test_a_project_without_such_runs_has_none(tmp_path: Path) -> None:
    assert offline_runs(tmp_path, lambda task: True) == []
