"""`python -m agent.cluster.supervisor ENTITY/PROJECT/SWEEP…`: one task of the array job.

Starts `wandb agent` on one sweep after the other (one agent per GPU, or as told), and translates
what Slurm sends: on a notice it freezes the agents, so that they take nothing new, tells train.py
to save (USR2) or to stop (TERM), waits for it, and asks for a requeue where the cluster would not.
Then it stays alive until it is killed, because leaving early can lose the requeue.
"""

import argparse
import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from agent.cluster import processes, slurm
from agent.cluster.claims import ClaimFile
from agent.cluster.credentials import read_key
from agent.cluster.notices import Notice, Plan, plan_after_saving, read_notice
from agent.cluster.server_access import ServerAccess, run_states
from agent.cluster.work import (
    AgentWork,
    PointWork,
    Work,
    agent_environment,
    read_assignments,
    slots,
)
from agent.cluster.worker import Worker
from agent.errors import ClusterError, SweepAgentError

TICK_S = 0.5
ANSWER_S = 5.0  # Slurm's answer has to come within the notice's time
SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)


class Inbox:
    """Signals as a queue: the handler only writes down, nothing is lost or handled twice."""

    def __init__(self) -> None:
        self._received: list[int] = []
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def listen(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._received.append(number)
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b".")

    def wait(self, seconds: float) -> int | None:
        """The oldest signal, as soon as there is one; None after `seconds` without."""
        if not self._received and select.select([self._reader], [], [], seconds)[0]:
            os.read(self._reader, 4096)
        return self._received.pop(0) if self._received else None


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
    ) -> None:
        self._workers = workers
        self._inbox = inbox
        self._job = environment.get("SLURM_JOB_ID", "")
        self._task = slurm.task_name(environment)
        self._restarts = int(environment.get("SLURM_RESTART_COUNT", "0"))
        self._lead_s, self._max_restarts = lead_s, max_restarts
        self._say = say

    def run(self) -> int:
        """0 when every sweep has been worked through, 1 when one had to be given up."""
        while not all(worker.done for worker in self._workers):
            for worker in self._workers:
                worker.step(time.time())
            processes.reap_orphans({w.pid for w in self._workers if w.pid is not None})
            number = self._inbox.wait(TICK_S)
            if number is not None:
                return self._let_go(number)
        failed = [label for worker in self._workers for label in worker.failed]
        self._say("all sweeps worked through" if not failed else f"gave up on {', '.join(failed)}")
        return 1 if failed else 0

    # ------------------------------------------------------------------ a notice
    def _let_go(self, number: int) -> int:
        began = time.monotonic()
        for worker in self._workers:
            worker.freeze()
        fields = slurm.job_fields(self._job, timeout_s=ANSWER_S) if self._job else {}
        notice = read_notice(number, fields, now=time.time(), lead_s=self._lead_s)
        self._say(f"{signal.Signals(number).name}: {notice.value}; saving")
        notice = self._save(notice)
        self._say(f"everything saved {time.monotonic() - began:.1f} s after the notice")
        for worker in self._workers:
            worker.kill()
        plan = plan_after_saving(
            notice,
            preempt_mode=slurm.partition_preempt_mode(
                fields.get("Partition", ""), timeout_s=ANSWER_S
            )
            if notice is Notice.PREEMPTION
            else "",
            can_requeue=fields.get("Requeue") == "1",
            restarts=self._restarts,
            max_restarts=self._max_restarts,
        )
        self._say(plan.reason)
        return self._follow(plan, notice)

    def _save(self, notice: Notice) -> Notice:
        """Tell the grid points until none runs. A second signal can turn saving into stopping."""
        told: set[int] = set()
        while True:
            for worker in self._workers:
                worker.tell(notice.grid_point_signal, told)
            processes.reap_orphans({w.pid for w in self._workers if w.pid is not None})
            if not any(worker.running_grid_points() for worker in self._workers):
                return notice
            number = self._inbox.wait(0.1)
            if number == signal.SIGINT:
                notice, told = Notice.STOP, set()

    def _follow(self, plan: Plan, notice: Notice) -> int:
        if plan.requeue:
            try:
                slurm.call(["scontrol", "requeue", self._task])
                self._say(f"requeued {self._task} (restart {self._restarts + 1})")
            except ClusterError as error:
                self._say(f"cannot requeue: {error}")
                return 1
        while plan.wait_for_kill:
            self._inbox.wait(60.0)  # the kill ends this
        return 0 if notice is Notice.STOP else 1


# ---------------------------------------------------------------------- building
def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="supervisor", description=__doc__, allow_abbrev=False)
    parser.add_argument("sweeps", nargs="+", metavar="ENTITY/PROJECT/SWEEP")
    parser.add_argument("--state", type=Path, default=Path("outputs/cluster"))
    parser.add_argument("--key-file", type=Path, help="0600 file with the API key; else ~/.netrc")
    parser.add_argument("--base-url", help="W&B server; else W&B's cloud")
    parser.add_argument("--server-data", type=Path, help="data directory of the embedded server")
    parser.add_argument("--environment", type=Path, help="KEY=VALUE lines for the agents")
    parser.add_argument("--gpus-per-agent", type=int, default=1)
    parser.add_argument("--agents-per-gpu", type=int, default=1)
    parser.add_argument("--lead-s", type=float, default=180.0, help="of --signal=B:USR1@LEAD")
    parser.add_argument("--max-restarts", type=int, default=50)
    return parser


def build_workers(
    args: argparse.Namespace, environment: Mapping[str, str], say: Callable[[str], None]
) -> list[Worker]:
    """One worker per slot. ClusterError when the server or its key cannot be found."""
    access = ServerAccess(args.base_url, args.server_data, args.key_file)
    if access.key_file:
        read_key(access.key_file)  # a key file that is missing or open to others is told at once
    state = args.state.resolve()
    files_dir = state / "wandb"
    files_dir.mkdir(parents=True, exist_ok=True)
    base = dict(environment)
    if args.environment and args.environment.exists():
        base |= read_assignments(args.environment.read_text(encoding="utf-8").splitlines())
    extra = task_facts(environment)
    task = slurm.task_name(environment)

    def worker(index: int, devices: str | None) -> Worker:
        def current() -> dict[str, str]:
            known = access.environment(base)
            return agent_environment(known, files_dir=files_dir, devices=devices, extra=extra)

        def agent_work(sweep: str) -> Work:
            return AgentWork(sweep, current())

        return Worker(
            f"worker {index}",
            args.sweeps,
            ClaimFile(state / "tasks" / f"{task}-{index}.json"),
            agent_work=agent_work,
            point_work=lambda claim: PointWork(claim, current()),
            read_states=lambda sweep, run_ids: run_states(sweep, run_ids, current()),
            server_hands_out_crashed=access.hands_out_crashed,
            say=say,
        )

    visible = environment.get("CUDA_VISIBLE_DEVICES")
    each = slots(visible, gpus_per_agent=args.gpus_per_agent, agents_per_gpu=args.agents_per_gpu)
    return [worker(index, devices) for index, devices in enumerate(each)]


def task_facts(environment: Mapping[str, str]) -> dict[str, str]:
    """What every run records about where it ran; read by train.py's tracking."""
    facts = {
        "SWEEP_AGENT_TASK": slurm.task_name(environment),
        "SWEEP_AGENT_NODE": _node(environment),
    }
    with contextlib.suppress(OSError):
        log = Path("/proc/self/fd/1").readlink()
        if log.is_file():
            facts["SWEEP_AGENT_LOG"] = str(log)
    return facts


def _node(environment: Mapping[str, str]) -> str:
    return environment.get("SLURMD_NODENAME") or socket.gethostname()


def _say(text: str) -> None:
    print(f"[supervisor {time.strftime('%H:%M:%S')}] {text}", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    inbox = Inbox()
    inbox.listen()  # before anything that takes time: a notice may come at once
    args = build_parser().parse_args(words)
    processes.adopt_orphans()
    environment = dict(os.environ)
    restarts = environment.get("SLURM_RESTART_COUNT", "0")
    _say(f"task {slurm.task_name(environment)} on {_node(environment)}, restart {restarts}")
    if int(restarts) > args.max_restarts:
        _say(f"restarted {restarts} times, more than the {args.max_restarts} allowed; ending")
        return 1
    try:
        workers = build_workers(args, environment, _say)
        return Supervisor(
            workers,
            inbox,
            environment,
            lead_s=args.lead_s,
            max_restarts=args.max_restarts,
            say=_say,
        ).run()
    except SweepAgentError as error:
        print(f"supervisor: {error}", file=sys.stderr, flush=True)
        return 2


if __name__ == "__main__":
    sys.exit(main())
