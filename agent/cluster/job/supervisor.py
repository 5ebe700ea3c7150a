"""The supervisor of one task: runs its workers and translates what Slurm sends.

On a notice it freezes the agents, so that they take nothing new, asks train.py to save (USR2) or
to stop (TERM), waits for it, and asks for a requeue where the cluster would not. Then it stays
alive until it is killed, because leaving early can lose the requeue.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from agent.cluster import processes, slurm
from agent.cluster.job.life_log import LifeLog
from agent.cluster.job.slurm_notices import (
    Notice,
    Plan,
    plan_after_saving,
    read_notice,
    saving_time_s,
)
from agent.cluster.job.worker import Worker
from agent.cluster.processes import GridPointProcess
from agent.errors import ClusterError, Fault

TICK_S = 0.5
MOVING_S = 15.0  # for saving; their last messages cannot reach a server that has moved
ANSWER_S = 5.0  # Slurm's answer has to come within the notice's time
SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)


class Inbox:
    """Signals as a queue: the handler only writes down, nothing is lost or handled twice. A
    child that ends is not recorded as a signal, but wakes a wait.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self._ever: set[int] = set()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def listen(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._receive)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: self._wake())

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._received.append(number)
        self._ever.add(number)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b".")

    def has_received(self, number: int) -> bool:
        """Whether it has come at all, taken out by `wait` or not."""
        return number in self._ever

    @property
    def has_received_any(self) -> bool:
        return bool(self._ever)

    def wait(self, seconds: float) -> int | None:
        """The oldest signal, as soon as there is one; None after `seconds` without, or when a child
        has ended.
        """
        if not self._received and select.select([self._reader], [], [], seconds)[0]:
            os.read(self._reader, 4096)
        return self._received.pop(0) if self._received else None


def verdict_on(outcomes: Sequence[Mapping[str, str]]) -> str:
    """A sentence when every run that a task had has failed, which makes the task's job FAILED, so
    that Slurm's mail and `afterok` mean something; empty when one did not, or there was none.
    """
    states = [state for each in outcomes for state in each.values()]
    if not states or any(state not in ("failed", "crashed") for state in states):
        return ""
    return f"all {len(states)} run(s) of this task failed" if len(states) > 1 else "its run failed"


class Supervisor:
    """The workers of one task, from start to Slurm's last word."""

    def __init__(
        self,
        workers: Sequence[Worker],
        inbox: Inbox,
        environment: Mapping[str, str],
        *,
        lead_s: float,
        max_restarts: int,
        say: Callable[[str], None],
        is_superseded: Callable[[], bool] = lambda: False,
        has_server_moved: Callable[[], bool] = lambda: False,
        life_log: LifeLog | None = None,
    ) -> None:
        self._workers = workers
        self._life_log = life_log
        self._reason = ""  # why the task ends, in words
        self._cut_off_count = 0
        self._inbox = inbox
        self._job = environment.get("SLURM_JOB_ID", "")
        self._task = slurm.task_name(environment)
        self._restarts = int(environment.get("SLURM_RESTART_COUNT", "0"))
        self._lead_s, self._max_restarts = lead_s, max_restarts
        self._say = say
        self._is_superseded = is_superseded  # the task has a later life, on another node

        self._has_server_moved = has_server_moved

    def run(self) -> int:
        """0 when every sweep has been worked through; 1 when one had to be given up, when every
        run of the task failed, or when the task goes on in a later life; 74 when the site's fault
        lasted.
        """
        status = self._run()
        if self._life_log is not None and not self._is_superseded():
            self._life_log.end(time.time(), status, self._reason)
        return status

    def _run(self) -> int:
        while not all(worker.done for worker in self._workers):
            if self._is_superseded():
                return self._vanish()
            if self._has_server_moved():
                self._follow_server()
            for worker in self._workers:
                worker.step(time.time())
            self._note_life()
            processes.reap_orphans({w.pid for w in self._workers if w.pid is not None})
            is_over = all(worker.done for worker in self._workers)
            number = self._inbox.wait(0 if is_over else TICK_S)
            if number is not None:
                return self._let_go(number)
        failed = [label for worker in self._workers for label in worker.failed]
        verdict = verdict_on([worker.outcomes for worker in self._workers])
        fault = f"gave up on {', '.join(failed)}" if failed else verdict
        left = dict.fromkeys(words for worker in self._workers for words in worker.left)
        self._reason = fault or ", ".join(left)
        self._say(self._reason or "all sweeps worked through")
        if any(worker.is_site_at_fault for worker in self._workers):
            return Fault.SITE.exit_status
        return 1 if fault else 0

    def _note_life(self) -> None:
        if self._life_log is not None:
            busy = sum(bool(worker.running_grid_points()) for worker in self._workers)
            self._life_log.tick(time.time(), busy / max(len(self._workers), 1))

    def _vanish(self) -> int:
        """This node was taken for dead and the task runs elsewhere: nothing here may go on."""
        self._say("this task goes on in another place; ending everything here")
        for worker in self._workers:
            for point in worker.running_grid_points():  # those of a killed agent, too
                processes.send(point.pid, signal.SIGKILL)
            worker.kill()
        return 1

    def _follow_server(self) -> None:
        """A running client keeps the address it started with: let runs save, and start anew."""
        self._say("the server has moved; runs save and go on under its new address")
        signalled: dict[int, GridPointProcess] = {}
        until = time.monotonic() + MOVING_S
        for worker in self._workers:
            worker.freeze()
            worker.tell(signal.SIGUSR2, signalled)
        while any(w.running_grid_points() for w in self._workers) and time.monotonic() < until:
            processes.reap_orphans({w.pid for w in self._workers if w.pid is not None})
            time.sleep(0.1)
        for worker in self._workers:
            worker.start_anew(time.time())

    # ------------------------------------------------------------------ a notice
    def _let_go(self, number: int) -> int:
        if self._is_superseded():  # a requeue from here would take the living task away
            return self._vanish()
        began = time.monotonic()
        self._say(f"{signal.Signals(number).name} received")
        signalled: dict[int, GridPointProcess] = {}
        for worker in self._workers:
            worker.freeze()
            if number == signal.SIGUSR1:  # preemption or time limit: to a run both mean the same
                worker.tell(signal.SIGUSR2, signalled)
        fields = slurm.job_fields(self._job, timeout_s=ANSWER_S) if self._job else {}
        notice = read_notice(
            number, fields, now=time.time(), lead_s=self._lead_s, restarts=self._restarts
        )
        self._say(f"{notice.value}; saving")
        patience_s = saving_time_s(fields, now=time.time(), lead_s=self._lead_s)
        notice, points = self._save(notice, signalled, began + patience_s)
        seconds = f"{time.monotonic() - began:.1f} s after the notice"
        if notice is Notice.STOP:
            self._say(f"runs stopped at their last evaluation point, {seconds}")
        else:
            self._say(f"runs have let go, {seconds}; {self._cut_off_count} were cut off")
        if self._inbox.has_received(signal.SIGTERM):  # and so has each of wandb's own processes
            self._say_last_words(notice, points)
        for worker in self._workers:
            worker.kill()
        plan = plan_after_saving(
            notice,
            preempt_mode=slurm.partition_preempt_mode(
                fields.get("Partition", ""), timeout_s=ANSWER_S
            )
            if notice is Notice.PREEMPTION
            else "",
            can_requeue=fields.get("Requeue", "1") == "1",  # unknown: trying costs nothing
            restarts=self._restarts,
            max_restarts=self._max_restarts,
        )
        self._say(plan.reason)
        self._reason = f"{notice.value}: {plan.reason}"
        if self._life_log is not None:  # now: the kill comes without a further word
            self._life_log.end(time.time(), 0 if notice is Notice.STOP else 1, self._reason)
        return self._follow(plan, notice)

    def _save(
        self, notice: Notice, signalled: dict[int, GridPointProcess], until: float
    ) -> tuple[Notice, list[GridPointProcess]]:
        """Tell the grid points that are not in `signalled` until none runs; which ones there were.
        Ctrl-C turns saving into stopping.
        """
        points: dict[str, GridPointProcess] = {}
        while True:
            for worker in self._workers:
                worker.tell(notice.grid_point_signal, signalled)
            points |= {point.run_id: point for point in signalled.values()}
            processes.reap_orphans({w.pid for w in self._workers if w.pid is not None})
            if not any(worker.running_grid_points() for worker in self._workers):
                return notice, list(points.values())
            if time.monotonic() > until:
                self._cut_off()
                return notice, list(points.values())
            number = self._inbox.wait(0.1)
            if number == signal.SIGINT:
                notice, signalled = Notice.STOP, {}

    def _cut_off(self) -> None:
        """Runs that have not ended in time: their claims stay for the next life."""
        for worker in self._workers:
            for point in worker.running_grid_points():
                self._say(f"run {point.run_id} did not end in time; it is cut off")
                self._cut_off_count += 1
                processes.send(point.pid, signal.SIGKILL)

    def _say_last_words(self, notice: Notice, points: Sequence[GridPointProcess]) -> None:
        kind = "stopped" if notice is Notice.STOP else "preempted"
        speakers = [
            subprocess.Popen(
                [sys.executable, "-m", "agent.tracking.close_run", kind],
                env=dict(point.environment),
                stdin=subprocess.DEVNULL,
            )
            for point in points
        ]
        for speaker in speakers:
            speaker.wait()

    def _follow(self, plan: Plan, notice: Notice) -> int:
        if not self._job:  # outside Slurm nothing requeues or kills the task
            return 0 if notice is Notice.STOP else 1
        if plan.requeue:
            try:
                slurm.call(["scontrol", "requeue", self._task])
                self._say(f"requeued {self._task} (restart {self._restarts + 1})")
            except ClusterError as error:
                self._say(f"cannot requeue: {error}")
        while plan.wait_for_kill and not self._is_superseded():
            self._inbox.wait(60.0)  # the kill ends this
        return 0 if notice is Notice.STOP else 1
