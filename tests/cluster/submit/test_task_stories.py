"""Every task that was submitted has a story, from Slurm, its record, or its log."""

import re
from pathlib import Path
from typing import Any

import pytest

from agent.cluster.job.supervisor import verdict_on
from agent.cluster.job_records import JobRecord, TaskLife, allocated_hours
from agent.cluster.slurm import Ending, Task, parse_endings, parse_job
from agent.cluster.submit.status import Report
from agent.cluster.submit.status_text import status_lines
from agent.cluster.submit.task_stories import TaskStory, task_stories, with_logs, without_tails
from agent.cluster.submit.watch_commands import part_of

JOB = JobRecord("12", ("e/p/s",), (0, 1, 2, 3, 4, 5), "/logs/%A_%a.log", "x.sbatch", 1000.0)


def life(task: str, **values: Any) -> TaskLife:
    known: dict[str, Any] = {
        "restart": 0,
        "node": "n1",
        "gpus": 1,
        "started_at": 1000.0,
        "seen_at": 1060.0,
    }
    return TaskLife(task, **{**known, **values})


def test_a_task_that_waits_lives_ended_failed_died_or_never_spoke_has_its_reason() -> None:
    lives = [
        life("12_1", seen_at=2990.0),
        life("12_2", ended_at=1100.0),
        life("12_3", ended_at=1100.0, status=1, reason="all 2 run(s) of this task failed"),
        life("12_4"),
    ]
    endings = {
        "12_2": Ending("COMPLETED", "0:0", "n1", 100.0),
        "12_3": Ending("FAILED", "1:0", "n1", 100.0),
        "12_5": Ending("FAILED", "78:0", "n2", 1.0),
    }
    queued = [Task("12_0", "x", "PENDING", "", "Priority", 0, 600, "N/A")]
    stories = task_stories(JOB, queued, lives, endings, now=3000.0)
    assert [(s.task, s.state, s.reason) for s in stories] == [
        ("12_0", "PENDING", "Priority"),
        ("12_1", "RUNNING", ""),
        ("12_2", "COMPLETED", ""),
        ("12_3", "FAILED", "all 2 run(s) of this task failed"),
        ("12_4", "LOST", "cut off: killed, or its node died"),
        ("12_5", "FAILED", "ended before it could start an agent, exit status 78:0"),
    ]
    shown = with_logs(stories, JOB, {"12_5": ["no python"], "12_2": ["never shown"]})
    assert [(s.log, s.tail) for s in shown[4:]] == [
        ("/logs/12_4.log", ()),
        ("/logs/12_5.log", ("no python",)),
    ]
    assert shown[2].tail == ()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("0:53", "Slurm could not open its log: .* full or over quota .exit status 0:53"),
        ("74:0", "the site was at fault for too long: disk, quota, .* .exit status 74:0"),
    ],
)
@pytest.mark.parametrize("lives", [[], [life("12_5")]])
def test_a_task_that_could_leave_no_word_is_explained_by_its_exit_status(
    lives: list[TaskLife], status: str, reason: str
) -> None:
    """A full disk takes neither a log nor a record."""
    endings = {"12_5": Ending("FAILED", status, "n2", 1.0)}
    story = task_stories(JOB, [], lives, endings, now=3000.0)[-1]
    assert (story.task, story.state) == ("12_5", "FAILED")
    assert re.match(reason, story.reason)


HELD = (
    "JobId=1 ArrayJobId=12 ArrayTaskId=0-1,5%2 ArrayTaskThrottle=2 JobName=x JobState=CANCELLED "
    "Reason=JobHeldUser ExitCode=0:0 RunTime=00:00:00 EndTime=2026-11-27T07:35:59 NodeList= \n"
    "JobId=5 ArrayJobId=12 ArrayTaskId=2 JobName=x JobState=CANCELLED Reason=None ExitCode=0:15 "
    "RunTime=00:00:01 NodeList=n2 BatchHost=n2\n"
)
HELD_IN_ACCOUNTS = (
    "12_[0-1,5%2]|CANCELLED by 0|0:0|None assigned|0\n12_2|CANCELLED by 0|0:15|n2|1\n"
)


@pytest.mark.parametrize("endings", [parse_job(HELD), parse_endings(HELD_IN_ACCOUNTS)])
def test_tasks_that_were_cancelled_before_they_started_say_so_and_have_no_log(
    endings: dict[str, Ending],
) -> None:
    """Slurm has one line for all tasks of an array that have not started."""
    stories = with_logs(task_stories(JOB, [], [], endings, now=3000.0), JOB, {"12_2": ["killed"]})
    never = "cancelled before it started"
    assert [(s.task, s.state, s.reason) for s in stories[:3]] == [
        ("12_0", "CANCELLED", never),
        ("12_1", "CANCELLED", never),
        ("12_2", "CANCELLED", "ended before it could start an agent, exit status 0:15"),
    ]
    assert (stories[5].reason, stories[5].has_started) == (never, False)
    text = "\n".join(status_lines(Report([], stories)))
    assert "12_2 ended CANCELLED; /logs/12_2.log:\n    killed" in text
    assert "12_0 ended" not in text


def test_a_task_that_slurm_has_forgotten_is_judged_by_its_log() -> None:
    stories = with_logs(task_stories(JOB, [], [], {}, now=3000.0), JOB, {"12_1": ["no module"]})
    assert [story.has_started for story in stories[:2]] == [False, True]
    assert "has left no log: cancelled before it started" in stories[0].reason
    text = "\n".join(status_lines(Report([], stories)))
    assert "12_1 ended UNKNOWN; /logs/12_1.log:\n    no module" in text
    assert "12_0 ended" not in text


def test_nothing_is_over_while_slurm_cannot_be_asked() -> None:
    lives = [life("12_1"), life("12_2", ended_at=1100.0)]
    stories = task_stories(JOB, None, lives, {}, now=3000.0)
    assert [(story.state, story.is_over) for story in stories[:3]] == [
        ("NO ANSWER", False),
        ("LOST", True),
        ("COMPLETED", True),
    ]
    report = Report([], stories[1:3], slurm_problem="squeue did not answer within 20 s")
    assert not report.is_over
    text = "\n".join(status_lines(report))
    assert "slurm: squeue did not answer" in text
    assert "no tasks in the queue" not in text


@pytest.mark.parametrize("state", ["OUT_OF_MEMORY", "CANCELLED", "TIMEOUT", "FAILED"])
def test_a_task_that_was_killed_while_it_ran_is_not_said_to_have_never_begun(state: str) -> None:
    endings = {"12_5": Ending(state, "0:9", "n2", 60.0)}
    story = task_stories(JOB, [], [life("12_5")], endings, now=1061.0)[-1]
    assert (story.state, story.reason) == (state, "cut off while it ran, exit status 0:9")


def test_a_requeued_task_is_described_by_its_newest_life() -> None:
    lives = [life("12_0", ended_at=1050.0, status=1, reason="preempted"), life("12_0", restart=1)]
    (story, *_) = task_stories(JOB, [], lives, {}, now=1061.0)
    assert (story.state, story.restarts, story.reason) == ("RUNNING", 1, "")


def test_allocated_hours_are_those_of_all_lives_and_gpus() -> None:
    lives = [life("12_0", ended_at=4600.0, gpus=2), life("12_1", seen_at=2800.0, gpus=0)]
    assert allocated_hours(lives, now=20_000.0) == 2.5
    assert allocated_hours(lives, now=2860.0) - 2.5 == pytest.approx(60 / 3600)  # one lives on


def test_slurm_is_read_whether_it_remembers_the_job_or_only_its_accounts_do() -> None:
    line = (
        "JobId=13 ArrayJobId=12 ArrayTaskId=5 JobName=a b JobState=FAILED Reason=NonZeroExitCode "
        "ExitCode=78:0 RunTime=00:00:07 NodeList=n2 Command=/x y.sbatch\n"
    )
    waiting = "JobId=12 ArrayJobId=12 ArrayTaskId=6-9 JobState=PENDING\n"
    expected = {"12_5": Ending("FAILED", "78:0", "n2", 7.0)}
    assert parse_job(line + waiting) == expected
    assert parse_endings("12_5|FAILED|78:0|n2|7\n") == expected


def test_a_task_fails_only_when_every_run_of_it_has() -> None:
    assert verdict_on([{}, {}]) == ""
    assert verdict_on([{"a": "failed"}, {"b": "finished"}]) == ""
    assert verdict_on([{"a": "failed", "b": "crashed"}]) == "all 2 run(s) of this task failed"


def test_the_log_of_a_run_is_its_part_of_the_task_s(tmp_path: Path) -> None:
    lines = [
        "agent: run aaaa1111 begins\n",
        "zero\n",
        "[supervisor x] worker 0: wandb agent e/p/s\n",
        "[supervisor x] worker 0: run aaaa1111 of e/p/s\n",
        "one\n",
        "[supervisor x] worker 1: run bbbb2222 of e/p/s\n",
        "two\n",
        "[supervisor x] worker 0: run aaaa1111 of e/p/s\n",
        "three\n",
    ]
    log = tmp_path / "1_0.log"
    log.write_text("".join(lines))
    found = [line.strip() for line in part_of(log, "aaaa1111")]
    assert [line for line in found if " " not in line] == ["zero", "one", "three"]
    assert part_of(log, "cccc3333") == []


def test_what_a_task_failed_with_is_history_once_another_job_has_come_after_it() -> None:
    stories = [
        TaskStory(f"{job}_0", "FAILED", "n1", tail=(f"said by {job}",)) for job in (12, 13, 14, 15)
    ]
    times = [{"12": 1000.0, "13": 1002.0, "14": 5000.0}, {"15": 900.0}]
    text = "\n".join(status_lines(Report([], without_tails(stories, times))))
    assert [job for job in (12, 13, 14, 15) if f"said by {job}" in text] == [14, 15]
    assert text.count("FAILED  n1") == 4
    assert "12_0 ended" not in text
