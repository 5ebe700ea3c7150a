"""The command that `status` prints once no task is left."""

import shlex
from dataclasses import replace
from typing import Any

from agent.cluster.options import ArrayOptions, parse_options
from agent.cluster.submit.array import choices_of, flags_again
from agent.cluster.submit.next_command import Ended, may_have_left, next_command
from agent.cluster.submit.plan import PointState
from agent.cluster.submit.status import Report, SweepStatus
from agent.cluster.submit.status_text import status_lines
from agent.cluster.submit.task_stories import TaskStory
from agent.tracking.reader import RunFacts

FAILED, PARTIAL, NEW = PointState.FAILED, PointState.PARTIAL, PointState.NEW


def sweep(name: str, *states: str, expected: int | None = 2, method: str = "grid") -> SweepStatus:
    runs = [RunFacts(f"r{i}", f"r{i}", state, name) for i, state in enumerate(states)]
    return SweepStatus(f"me/{name}/s", "FINISHED", expected, runs, method=method)


def shown(*ended: Ended) -> str:
    return next_command(ended, ArrayOptions())


def test_one_command_brings_back_all_that_is_left_of_all_files() -> None:
    cut_off = Ended(sweep("a", "crashed"), "/p/a.yaml", [PARTIAL, NEW])
    failed = Ended(sweep("b", "failed", "finished"), "/p/b.yaml", [FAILED])
    done = Ended(sweep("c", "finished", "finished"), "/p/c.yaml", [])
    assert shown(done, cut_off, failed) == "sweep-agent fill --failed /p/a.yaml /p/b.yaml"
    assert shown(done, cut_off) == "sweep-agent fill /p/a.yaml"
    assert shown(done) == "sweep-agent report me/c"


def test_a_file_that_was_submitted_twice_is_named_once() -> None:
    twice = [Ended(sweep("a", "crashed"), "/my p/a.yaml", [NEW]) for _ in range(2)]
    assert shown(*twice) == "sweep-agent fill '/my p/a.yaml'"


def test_points_that_another_sweep_of_the_file_has_finished_are_not_left() -> None:
    cancelled = sweep("a")
    assert may_have_left(cancelled)  # by itself
    assert shown(Ended(cancelled, "/p/a.yaml", [])) == "sweep-agent report me/a"


def test_a_sweep_whose_points_cannot_be_listed_gets_another_array() -> None:
    search = Ended(sweep("a", "crashed", method="random", expected=None), "/p/a.yaml")
    given = Ended(sweep("b", "finished", expected=2))
    ended = Ended(sweep("c", "finished", "failed", method="random"), "/p/c.yaml")
    assert shown(search, given, ended) == "sweep-agent submit me/a/s me/b/s"
    grid = Ended(sweep("d"), "/p/d.yaml", [NEW])
    assert shown(grid, given) == "sweep-agent fill /p/d.yaml && sweep-agent submit me/b/s"


def test_a_sweep_with_a_scheduler_gets_it_as_well_as_an_array() -> None:
    scheduler = "wandb sweep-scheduler me/a/s"
    status = replace(sweep("a", "finished", method="custom"), scheduler=scheduler)
    assert shown(Ended(status, "/p/a.yaml")) == f"{scheduler} & sweep-agent submit me/a/s"
    text = status_lines(Report([status]))
    assert text[1] == f"  no point without its scheduler, beside the array: {scheduler}"
    works = replace(status, runs=[RunFacts("r", "r", "running", "a")])
    assert "scheduler" not in "".join(status_lines(Report([works])))


def test_the_command_asks_slurm_for_what_the_submission_asked_for() -> None:
    given: dict[str, Any] = {
        "partition": "gpu",
        "mem": "500M",
        "gres": "gpu:a|gpu:b",
        "setup": ["conda activate my study"],
        "sbatch": ["hold", "mail-type=FAIL"],
        "notify": "https://hooks.example.org/secret",
        "server_data": "/s",
    }
    choices = choices_of(parse_options(given))
    assert "notify" not in choices
    usual = parse_options({"mem": "500M", "server_data": "/s"})  # the profile has it
    flags = flags_again(choices, usual)
    assert shlex.split(flags) == [
        *("--gres", "gpu:a|gpu:b", "--partition", "gpu"),
        *("--sbatch", "mail-type=FAIL"),
        *("--setup", "conda activate my study"),
    ]
    ended = Ended(sweep("a"), "/p/a.yaml", [NEW], flags)
    assert next_command([ended], usual) == f"sweep-agent fill /p/a.yaml {flags} --server-data /s"
    assert flags_again(choices, parse_options({**given, "sbatch": "mail-type=FAIL"})) == ""


def test_each_submission_has_its_own_flags() -> None:
    large = Ended(sweep("a"), "/p/a.yaml", [NEW], "--mem 64G")
    small = Ended(sweep("b"), "/p/b.yaml", [FAILED], "--mem 1G")
    assert shown(large, small) == (
        "sweep-agent fill /p/a.yaml --mem 64G && sweep-agent fill --failed /p/b.yaml --mem 1G"
    )


def test_runs_that_wait_for_their_sync_come_first_and_one_that_was_cut_off_never_waits() -> None:
    waits = Ended(sweep("a", "not synced", "failed"), "/p/a.yaml", [FAILED])
    cut_off = Ended(sweep("b", "crashed"), "/p/b.yaml", [PARTIAL], "--offline")
    assert shown(waits, cut_off) == (
        "find outputs/cluster/wandb/wandb -name 'offline-run-*' -prune -exec wandb sync {} ';'"
    )
    assert shown(cut_off) == "sweep-agent fill /p/b.yaml --offline"
    assert flags_again({"offline": "1"}, ArrayOptions()) == "--offline"


def test_while_a_run_counts_as_running_it_is_too_early_for_a_report() -> None:
    """It was killed, and the server has not missed it yet; or an agent elsewhere has it."""
    status = sweep("a", "finished", "running")
    assert shown(Ended(status, "/p/a.yaml", [])) == "sweep-agent status --watch"
    found = Report([status], [TaskStory("12_0", "COMPLETED", "n1")])
    assert found.stray == 1
    assert "1 run(s) count as running, but no task here" in "\n".join(status_lines(found))
    assert replace(found, tasks=[TaskStory("12_0", "RUNNING", "n1")]).stray == 0


def test_a_report_is_of_every_project() -> None:
    both = [Ended(sweep(name, "finished", "finished"), f"/p/{name}.yaml", []) for name in "ab"]
    assert shown(*both) == "sweep-agent report me/a me/b"
