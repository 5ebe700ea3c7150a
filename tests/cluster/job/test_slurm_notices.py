"""What Slurm's signals mean; the fields are as Slurm 22.05 printed them in the real cases."""

import signal
from datetime import datetime
from pathlib import Path

import pytest

from agent.cluster.job.slurm_notices import Notice, plan_after_saving, read_notice, saving_time_s
from agent.cluster.slurm import (
    duration_s,
    job_fields,
    parse_fields,
    parse_queue,
    task_name,
    timestamp,
)

START = datetime(2026, 11, 24, 5, 55, 30).timestamp()
RUNNING = {
    "JobState": "RUNNING",
    "TimeLimit": "01:00:00",
    "StartTime": "2026-11-24T05:55:30",
    "EndTime": "2026-11-24T06:55:30",
    "PreemptTime": "None",
}
PREEMPTED = {**RUNNING, "PreemptTime": "2026-11-24T05:56:01", "EndTime": "2026-11-24T05:56:21"}


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_set_preempt_time_means_preemption_whatever_the_signal(number: int) -> None:
    assert read_notice(number, PREEMPTED, now=START + 32, lead_s=180) is Notice.PREEMPTION


def test_usr1_near_the_end_is_the_time_limit() -> None:
    assert read_notice(signal.SIGUSR1, RUNNING, now=START + 3600 - 230, lead_s=180) is (
        Notice.TIME_LIMIT
    )


def test_usr1_far_from_the_end_is_a_preemption_that_slurm_does_not_date() -> None:
    assert read_notice(signal.SIGUSR1, RUNNING, now=START + 60, lead_s=180) is Notice.PREEMPTION


def test_sigterm_at_the_limit_is_the_time_limit_and_before_it_a_cancel() -> None:
    assert read_notice(signal.SIGTERM, RUNNING, now=START + 3600) is Notice.TIME_LIMIT
    assert read_notice(signal.SIGTERM, RUNNING, now=START + 100) is Notice.STOP


def test_a_restart_that_slurm_has_counted_beyond_the_own_is_a_requeue() -> None:
    """`scontrol requeue`, a hold with it, or a site that drains a node: not a cancel."""
    ending = {**RUNNING, "JobState": "COMPLETING", "EndTime": "Unknown", "Restarts": "3"}
    found = read_notice(signal.SIGTERM, ending, now=START + 100, restarts=2)
    assert found is Notice.REQUEUE
    assert found.grid_point_signal is signal.SIGUSR2
    cancelled = {**ending, "Restarts": "2"}
    assert read_notice(signal.SIGTERM, cancelled, now=START + 100, restarts=2) is Notice.STOP
    plan = plan_after_saving(
        Notice.REQUEUE, preempt_mode="", can_requeue=True, restarts=50, max_restarts=50
    )
    assert (plan.requeue, plan.wait_for_kill) == (False, False)


def test_without_slurms_word_nothing_is_given_up() -> None:
    """In a container without scontrol: a run marked preempting is continued, a stopped one not."""
    assert read_notice(signal.SIGTERM, {}, now=START) is Notice.PREEMPTION


def test_ctrl_c_stops() -> None:
    assert read_notice(signal.SIGINT, PREEMPTED, now=START) is Notice.STOP


def test_usr2_means_preemption_and_sigterm_means_stop_to_the_run() -> None:
    assert Notice.PREEMPTION.grid_point_signal is signal.SIGUSR2
    assert Notice.TIME_LIMIT.grid_point_signal is signal.SIGUSR2
    assert Notice.STOP.grid_point_signal is signal.SIGTERM


@pytest.mark.parametrize(
    ("notice", "mode", "can_requeue", "restarts", "requeue", "wait"),
    [
        (Notice.PREEMPTION, "REQUEUE", True, 0, False, True),
        (Notice.PREEMPTION, "CANCEL", True, 0, True, True),
        (Notice.PREEMPTION, "", True, 0, True, True),
        (Notice.PREEMPTION, "CANCEL", False, 0, False, True),
        (Notice.TIME_LIMIT, "", True, 0, True, True),
        (Notice.TIME_LIMIT, "", True, 50, False, False),
        (Notice.STOP, "REQUEUE", True, 0, False, False),
    ],
)
def test_a_task_requeues_itself_only_where_the_cluster_would_not(
    notice: Notice, mode: str, can_requeue: bool, restarts: int, requeue: bool, wait: bool
) -> None:
    plan = plan_after_saving(
        notice, preempt_mode=mode, can_requeue=can_requeue, restarts=restarts, max_restarts=50
    )
    assert (plan.requeue, plan.wait_for_kill) == (requeue, wait)


def test_runs_may_save_as_long_as_there_is_time_left_to_ask_for_the_requeue() -> None:
    at_limit = START + 3600 - 50
    assert saving_time_s(RUNNING, now=at_limit, lead_s=60) == 45
    assert saving_time_s(PREEMPTED, now=START + 31, lead_s=180) == 15
    assert saving_time_s(RUNNING, now=START + 3599, lead_s=60) == 5
    assert saving_time_s({}, now=START, lead_s=60) == 55


def test_a_command_that_dies_of_the_jobs_own_sigterm_is_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm sends SIGTERM to every process of a job, and so to a scontrol that was just started."""
    program = tmp_path / "scontrol"
    program.write_text(
        f"#!/bin/sh\n[ -e {tmp_path}/seen ] && exec echo 'JobState=RUNNING Requeue=1'\n"
        f"touch {tmp_path}/seen\nkill -TERM $$\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert job_fields("1") == {"JobState": "RUNNING", "Requeue": "1"}


def test_fields_may_hold_spaces_and_equal_signs() -> None:
    fields = parse_fields(
        "JobId=1 JobName=a b Reason=None TRES=cpu=1,node=1 Command=/x y.sh E/R:C=5\n"
    )
    assert fields["JobName"] == "a b"
    assert fields["TRES"] == "cpu=1,node=1"
    assert fields["Command"] == "/x y.sh"
    assert fields["E/R:C"] == "5"
    assert parse_fields("") == {}


def test_slurms_durations_and_times() -> None:
    assert duration_s("1-02:03:04") == 93784
    assert duration_s("2:03") == 123
    assert duration_s("UNLIMITED") is None
    assert timestamp("Unknown") is None
    assert timestamp("2026-11-24T05:55:30") == START


def test_the_queue_is_read_line_by_line() -> None:
    text = (
        "12_0|sweep-agents|RUNNING|n1|None|1:30|58:30|2026-11-24T06:55:30\n"
        "12_1|sweep-agents|PENDING||Resources|0:00|1:00:00|N/A\n"
        "odd|line\n"
    )
    running, pending = parse_queue(text)
    assert (running.job, running.node, running.seconds_run, running.seconds_left) == (
        "12_0",
        "n1",
        90,
        3510,
    )
    assert (pending.state, pending.reason, pending.seconds_left) == ("PENDING", "Resources", 3600)


def test_a_task_is_named_by_array_and_index_because_the_last_tasks_job_id_is_the_arrays() -> None:
    names = {"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
    assert task_name(names) == "12_3"
    assert task_name({"SLURM_JOB_ID": "12"}) == "12"
    assert task_name({}) == "local"
