"""What Slurm's signals mean for a task, and what the task does about it: pure decisions.

Measured on Slurm 22.05: with `--signal=B:USR1@N` the batch process alone gets USR1, both N seconds
before the time limit and at the start of a preemption's grace time (PreemptTime is then set).
SIGTERM comes at the end, on scancel as well, to every process of the job at once.
"""

import enum
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from agent.cluster.slurm import duration_s, timestamp

RESERVE_S = 5.0  # for asking Slurm to requeue
LIMIT_MARGIN_S = 60.0  # Slurm sends the signal up to a minute earlier than asked


class Notice(enum.Enum):
    """Why a task has to let go of its grid points."""

    PREEMPTION = "preempted"  # another job wants the node; also when the reason is unknown
    TIME_LIMIT = "at its time limit"
    REQUEUE = "requeued"  # by a person or the site, with scontrol
    STOP = "cancelled"

    @property
    def grid_point_signal(self) -> signal.Signals:
        """What train.py gets: SIGUSR2 saves and marks preempting, SIGTERM saves and stops."""
        return signal.SIGTERM if self is Notice.STOP else signal.SIGUSR2


@dataclass(frozen=True)
class Plan:
    """What the task does once its grid points are saved."""

    requeue: bool  # ask Slurm for it: the cluster will not
    wait_for_kill: bool  # leaving inside the preemption window loses Slurm's own requeue
    reason: str


def read_notice(
    number: int,
    fields: Mapping[str, str],
    *,
    now: float,
    lead_s: float = 0.0,
    restarts: int = 0,
) -> Notice:
    """`fields` are scontrol's for this job, empty when Slurm cannot be asked (a container).

    `lead_s` is how long before the time limit the signal was asked for, `restarts` how often the
    job had been started again when this life of it began.
    """
    if number == signal.SIGINT:
        return Notice.STOP
    if int(fields.get("Restarts") or 0) > restarts:  # counted as soon as the requeue is decided
        return Notice.REQUEUE
    if timestamp(fields.get("PreemptTime", "")) is not None:
        return Notice.PREEMPTION
    start, end = timestamp(fields.get("StartTime", "")), timestamp(fields.get("EndTime", ""))
    if number == signal.SIGUSR1:
        near_limit = end is not None and end - now <= lead_s + LIMIT_MARGIN_S
        return Notice.TIME_LIMIT if near_limit else Notice.PREEMPTION
    limit_s = _limit_s(fields)
    if start is not None and limit_s is not None and now - start >= limit_s - 1:
        return Notice.TIME_LIMIT
    return Notice.STOP if fields else Notice.PREEMPTION


def plan_after_saving(
    notice: Notice, *, preempt_mode: str, can_requeue: bool, restarts: int, max_restarts: int
) -> Plan:
    """`preempt_mode` is the partition's, `can_requeue` the job's own Requeue flag."""
    if notice is Notice.STOP:
        return Plan(False, False, "nothing to come back for")
    if notice is Notice.REQUEUE:
        return Plan(False, False, "Slurm starts the task again")
    if restarts >= max_restarts:
        return Plan(False, False, f"restarted {restarts} times, the most allowed; not again")
    if notice is Notice.PREEMPTION and preempt_mode.upper() == "REQUEUE":
        return Plan(False, True, "the cluster requeues preempted jobs when it kills them")
    if not can_requeue:
        return Plan(False, True, "the job may not be requeued; a chained job goes on from here")
    if notice is Notice.TIME_LIMIT:
        return Plan(True, True, "time limits never requeue by themselves")
    return Plan(True, True, f"PreemptMode={preempt_mode or 'unknown'} does not requeue by itself")


def saving_time_s(fields: Mapping[str, str], *, now: float, lead_s: float) -> float:
    """How long runs may take to save. After it the task has to ask for its requeue, or it ends
    without one; a run that did not answer is cut off and taken over in the next life.
    """
    end = timestamp(fields.get("EndTime", ""))
    left_s = end - now if end is not None else lead_s
    return max(min(left_s, max(lead_s, 30.0)) - RESERVE_S, RESERVE_S)


def _limit_s(fields: Mapping[str, str]) -> int | None:
    return duration_s(fields.get("TimeLimit", ""))
