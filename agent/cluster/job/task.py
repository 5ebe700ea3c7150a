"""`python -m agent.cluster.job.task ENTITY/PROJECT/SWEEP…`: what a task of the array job executes.

Starts `wandb agent` on one sweep after the other, one agent per GPU or as asked, or works through
a list of grid points, under a supervisor that gets Slurm's signals.
"""

import argparse
import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from agent import files
from agent.cluster import processes, slurm
from agent.cluster.claims import ClaimFile
from agent.cluster.job import torchrun_point
from agent.cluster.job.life_log import LifeLog
from agent.cluster.job.point_source import PointSource
from agent.cluster.job.supervisor import Inbox, Supervisor
from agent.cluster.job.sweep_source import SweepSource
from agent.cluster.job.worker import Source, Worker
from agent.cluster.job.workload import (
    AgentWork,
    PointWork,
    agent_environment,
    read_assignments,
    slots,
)
from agent.cluster.job_records import JobRecords, TaskLife
from agent.cluster.point_queue import PointList
from agent.cluster.snapshot import code_variables
from agent.cluster.warm_start import ROOT, warm_worker
from agent.config.shared_devices import AGENTS_PER_GPU
from agent.config.warm_start import WARM_WORKER
from agent.errors import NOT_INSTALLED, ClusterError, SweepAgentError, fault_of, one_line
from agent.log_noise import outlive_a_full_log
from agent.signals import SUPERVISED
from agent.takeover import Term
from agent.tracking.credentials import read_key
from agent.tracking.endpoint import AddressWatch, ServerAccess
from agent.tracking.notices import notice_url, post_notice, sweep_states
from agent.tracking.patience import Patience, site_limit_s
from agent.tracking.run_states import run_states


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agent.cluster.job.task", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("sweeps", nargs="*", metavar="ENTITY/PROJECT/SWEEP")
    parser.add_argument("--points", type=Path, help="a list of grid points instead of sweeps")
    parser.add_argument("--offline", action="store_true", help="no server: with --points only")
    parser.add_argument("--state", type=Path, default=Path("outputs/cluster"))
    parser.add_argument("--key-file", type=Path, help="0600 file with the API key; else ~/.netrc")
    parser.add_argument("--base-url", help="W&B server; else W&B's cloud")
    parser.add_argument("--server-data", type=Path, help="data directory of the embedded server")
    parser.add_argument("--environment", type=Path, help="KEY=VALUE lines for the agents")
    parser.add_argument("--gpus-per-agent", type=int, default=1)
    parser.add_argument("--agents-per-gpu", type=int, default=1)
    parser.add_argument("--lead-s", type=float, default=180.0, help="of --signal=B:USR1@LEAD")
    parser.add_argument("--max-restarts", type=int, default=50)
    parser.add_argument("--idle-limit-s", type=float, help="without a grid point; then it leaves")
    parser.add_argument(
        "--notify",
        default="",
        help="URL that gets a POST when the sweeps have ended, or a 0600 file that holds it",
    )
    return parser


def access_of(args: argparse.Namespace) -> ServerAccess:
    return ServerAccess(args.base_url, args.server_data, args.key_file)


def build_workers(
    args: argparse.Namespace, environment: Mapping[str, str], say: Callable[[str], None]
) -> list[Worker]:
    """One worker per slot. ClusterError when the key cannot be used."""
    access = access_of(args)
    if access.key_file:
        read_key(access.key_file)  # a key file that is missing or open to others is refused at once
    state = args.state.resolve()
    files_dir = state / "wandb"
    files_dir.mkdir(parents=True, exist_ok=True)
    base = base_environment(args, environment)
    extra = {**task_facts(environment), AGENTS_PER_GPU: str(args.agents_per_gpu)}
    each, cores = _slots(args, environment)

    def known(devices: str | None) -> dict[str, str]:
        offline = {**base, "WANDB_MODE": "offline"}
        with_server = offline if args.offline else access.environment(base)
        count = len((devices or "").split(","))
        environment = agent_environment(
            with_server, files_dir=files_dir, devices=devices, extra=extra, cores=cores // count
        )
        if count > 1:  # the agent's `python` starts one process a GPU
            place = torchrun_point.interpreter(state, count)
            environment["PATH"] = os.pathsep.join([str(place), environment["PATH"]])
        return environment

    def worker(index: int, devices: str | None) -> Worker:
        name = f"worker {index}"
        return Worker(
            name,
            _source(
                args,
                f"{slurm.task_name(environment)}-{index}",
                partial(known, devices),
                lambda text: say(f"{name}: {text}"),
            ),
            say,
            lambda: files.check_writable(files_dir),
            site_limit_s=site_limit_s(base),
        )

    return [worker(index, devices) for index, devices in enumerate(each)]


def base_environment(args: argparse.Namespace, environment: Mapping[str, str]) -> Mapping[str, str]:
    """The task's own environment with the lines that `sweep-agent prepare` has written."""
    if not (args.environment and args.environment.exists()):
        return environment
    lines = args.environment.read_text(encoding="utf-8").splitlines()
    return {**environment, **read_assignments(lines)}


def _slots(
    args: argparse.Namespace, environment: Mapping[str, str]
) -> tuple[list[str | None], int]:
    """The devices of each agent, and the cores that each has."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    each = slots(visible, gpus_per_agent=args.gpus_per_agent, agents_per_gpu=args.agents_per_gpu)
    return each, max(int(environment.get("SLURM_CPUS_PER_TASK", "1")) // len(each), 1)


@contextlib.contextmanager
def warm_start(
    args: argparse.Namespace, environment: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """What points the task's runs at a warm worker of its own, which starts with the first of them
    and ends with the task.

    Empty where none can help: `train.py` is not this code's, a run takes several GPUs (torchrun
    starts its processes), or the environment names a worker or, with an empty name, forbids one.
    """
    base = base_environment(args, environment)
    each, cores = _slots(args, environment)
    takes_several = any("," in (devices or "") for devices in each)
    is_ours = Path.cwd().resolve() == ROOT and (ROOT / "train.py").is_file()
    if WARM_WORKER in base or takes_several or not is_ours:
        yield {}
        return
    files_dir = args.state.resolve() / "wandb"
    known = agent_environment(base, files_dir=files_dir, devices=None, extra={}, cores=cores)
    with warm_worker(known, at_first_run=True) as variables:
        yield variables


def _source(
    args: argparse.Namespace,
    name: str,
    environment: Callable[[], dict[str, str]],
    say: Callable[[str], None],
) -> Source:
    """`name` is the task's and the worker's, the same in every life of the task."""
    if args.points:
        return PointSource(
            PointList(args.points),
            name,
            point_work=lambda claim: PointWork(claim, environment()),
            is_alive=lambda other: slurm.is_alive(other.rpartition("-")[0]),
        )
    hands_out_crashed = access_of(args).hands_out_crashed
    return SweepSource(
        args.sweeps,
        ClaimFile(args.state.resolve() / "tasks" / f"{name}.json"),
        # W&B's cloud does not hand out again the point of an agent that ended between the answer
        # and the start of its run: there wandb's agent asks.
        ask=(lambda newcomer: newcomer.ask(environment())) if hands_out_crashed else None,
        say=say,
        agent_work=lambda sweep, first: AgentWork(sweep, environment(), first),
        point_work=lambda claim: PointWork(claim, environment()),
        read_states=lambda sweep, run_ids: run_states(sweep, run_ids, environment()),
        server_hands_out_crashed=hands_out_crashed,
        idle_limit_s=args.idle_limit_s,
        login=lambda: access_of(args).login(os.environ),
        site_limit_s=site_limit_s(base_environment(args, os.environ)),
    )


def task_facts(environment: Mapping[str, str]) -> dict[str, str]:
    """What every run records about where it ran and from which code; read by tracking."""
    facts = {
        SUPERVISED: slurm.task_name(environment),
        "SWEEP_AGENT_NODE": _node(environment),
    }
    facts |= code_variables(Path.cwd())
    with contextlib.suppress(OSError):
        log = Path("/proc/self/fd/1").readlink()
        if log.is_file():
            facts["SWEEP_AGENT_LOG"] = str(log)
    return facts


def begin_life(state: Path, environment: Mapping[str, str]) -> Term | None:
    """The task's next life, before its claims are read; an earlier one that wakes up ends.

    None outside Slurm, where several may run at once under one name.
    """
    if not environment.get("SLURM_JOB_ID"):
        return None
    directory = state / "tasks" / f"{slurm.task_name(environment)}.lives"
    return Term.take(directory, {"host": _node(environment), "pid": os.getpid()})


def _leave_when_signalled(inbox: Inbox) -> None:
    if inbox.has_received_any:
        raise ClusterError("ended by a signal while it waited for the site")


def begin_record(state: Path, environment: Mapping[str, str]) -> LifeLog | None:
    """The record of this life, for `status`; None outside an array."""
    task = slurm.task_name(environment)
    if "_" not in task:
        return None
    now = time.time()
    visible = environment.get("CUDA_VISIBLE_DEVICES", "")
    gpus = len([word for word in visible.split(",") if word.strip()])
    restart = int(environment.get("SLURM_RESTART_COUNT", "0"))
    life = TaskLife(task, restart, _node(environment), gpus, started_at=now, seen_at=now)
    return LifeLog(JobRecords(state), life, _say)


def notify_at_end(args: argparse.Namespace, environment: Mapping[str, str], status: int) -> None:
    """Tell the URL, once for all tasks, when no point of the sweeps is left."""
    states = sweep_states(args.sweeps, access_of(args).environment(environment))
    if not args.sweeps or set(states) != set(args.sweeps) or "RUNNING" in states.values():
        return
    job = slurm.task_name(environment).partition("_")[0]
    marker = args.state.resolve() / "jobs" / f"{job}.notified"
    if files.create_exclusively(marker, json.dumps(states)):
        _say(post_notice(notice_url(args.notify), {"job": job, "sweeps": states, "status": status}))


def _node(environment: Mapping[str, str]) -> str:
    return environment.get("SLURMD_NODENAME") or socket.gethostname()


def _say(text: str) -> None:
    now = datetime.now().isoformat(timespec="milliseconds")
    print(f"[supervisor {now}] {text}", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    outlive_a_full_log()
    inbox = Inbox()
    inbox.listen()  # before anything that takes time: a notice may come at once
    args = build_parser().parse_args(words)
    processes.adopt_orphans()
    environment = dict(os.environ)
    restarts = environment.get("SLURM_RESTART_COUNT", "0")
    _say(f"task {slurm.task_name(environment)} on {_node(environment)}, restart {restarts}")
    life_log = None
    try:
        limit_s = site_limit_s(base_environment(args, environment))
        patience = Patience(partial(_leave_when_signalled, inbox), limit_s=limit_s)
        life = patience.keep_trying(lambda: begin_life(args.state.resolve(), environment))
        life_log = begin_record(args.state.resolve(), environment)
        if int(restarts) > args.max_restarts:
            raise ClusterError(f"restarted {restarts} times, more than {args.max_restarts}")
        if not args.offline:
            access_of(args).check_key(environment)
        with warm_start(args, environment) as warm:
            known = {**environment, **warm}
            workers = patience.keep_trying(lambda: build_workers(args, known, _say))
            status = Supervisor(
                workers,
                inbox,
                environment,
                lead_s=args.lead_s,
                max_restarts=args.max_restarts,
                say=_say,
                has_server_moved=AddressWatch(args.server_data).has_moved,
                is_superseded=lambda: life is not None and life.is_over,
                life_log=life_log,
            ).run()
        if args.notify and not inbox.has_received_any:
            notify_at_end(args, environment, status)
        return status
    except (SweepAgentError, OSError) as error:
        print(f"task: {one_line(error)}", file=sys.stderr, flush=True)
        status = NOT_INSTALLED if isinstance(error, ClusterError) else fault_of(error).exit_status
        if life_log is not None:
            life_log.end(time.time(), status, one_line(error))
        return status


if __name__ == "__main__":
    sys.exit(main())
