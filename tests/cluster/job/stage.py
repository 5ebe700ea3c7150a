"""Stand-ins for `wandb agent` and train.py, and a supervisor over them, without Slurm."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.cluster.claims import ClaimFile
from agent.cluster.job.supervisor import Inbox, Supervisor
from agent.cluster.job.sweep_source import SweepSource
from agent.cluster.job.worker import Worker
from agent.cluster.job.workload import AgentWork, PointWork, Work
from agent.tracking.first_commands import FirstCommands, Newcomer
from agent.tracking.run_states import RunState

# A grid point: writes which signal it gets; USR2 ends it with 75, TERM with 143, as train.py does.
POINT = """
import os, pathlib, signal, sys, time
log = pathlib.Path(os.environ["LOG"])
def note(text):
    with log.open("a") as file:
        file.write(f"{os.environ['WANDB_RUN_ID']} {text}\\n")
def end(number, frame):
    note(signal.Signals(number).name)
    sys.exit(75 if number == signal.SIGUSR2 else 143)
signal.signal(signal.SIGUSR2, end)
signal.signal(signal.SIGTERM, end)
note("started")
time.sleep(float(os.environ.get("POINT_S", "0.2")))
note("finished")
"""
# An agent: runs the points one by one as wandb does, each in a process group of its own.
AGENT = """
import os, subprocess, sys, time
for run_id in sys.argv[2:]:
    subprocess.Popen([sys.executable, sys.argv[1]], process_group=0,
                     env={**os.environ, "WANDB_RUN_ID": run_id, "WANDB_SWEEP_ID": "s"}).wait()
if os.environ.get("AGENT_IDLES"):
    time.sleep(60)
sys.exit(int(os.environ.get("AGENT_CODE", "0")))
"""


@dataclass(frozen=True)
class StandInAgent(AgentWork):
    """AgentWork with another program in the place of `wandb agent`."""

    words: tuple[str, ...] = ()
    handed_back: list[str] = field(default_factory=list)

    def hand_back(self) -> None:
        self.handed_back.append(self.first.agent_id if self.first else "")

    def start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, *self.words], env=dict(self.environment))


@dataclass
class Stage:
    """The files and callables that a worker needs, and what was seen."""

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)
    states: dict[str, RunState] = field(default_factory=dict)
    runs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    handed_back: list[str] = field(default_factory=list)  # ids of agents

    def __post_init__(self) -> None:
        (self.directory / "point.py").write_text(textwrap.dedent(POINT))
        (self.directory / "agent.py").write_text(textwrap.dedent(AGENT))

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "LOG": str(self.directory / "log"), **self.variables}

    @property
    def claims_path(self) -> Path:
        return self.directory / "tasks" / "1_0-0.json"

    @property
    def log(self) -> list[str]:
        path = self.directory / "log"
        return path.read_text().splitlines() if path.exists() else []

    def agent_work(self, sweep: str, first: FirstCommands | None = None) -> Work:
        programs = (str(self.directory / "agent.py"), str(self.directory / "point.py"))
        words = (*programs, *self.runs[sweep])
        return StandInAgent(sweep, self.environment, first, words, self.handed_back)

    def worker(
        self,
        *sweeps: str,
        crashed: bool = False,
        check_site: Callable[[], None] = lambda: None,
        site_limit_s: float = 1800.0,
        ask: Callable[[Newcomer], FirstCommands] | None = None,
    ) -> Worker:
        source = SweepSource(
            sweeps,
            ClaimFile(self.claims_path),
            agent_work=self.agent_work,
            point_work=lambda claim: PointWork(claim, self.environment),
            read_states=lambda _sweep, ids: {i: self.states[i] for i in ids if i in self.states},
            server_hands_out_crashed=crashed,
            ask=ask,
            say=self.said.append,
        )
        return Worker("worker 0", source, self.said.append, check_site, site_limit_s=site_limit_s)

    def supervise(
        self,
        worker: Worker,
        notice: signal.Signals | None = None,
        *,
        lead_s: int = 180,
        **more: Any,
    ) -> int:
        """The exit status of a supervisor over this worker, which `notice` has reached."""
        inbox = Inbox()
        if notice is not None:
            inbox._receive(notice, None)
        say = self.said.append
        return Supervisor([worker], inbox, {}, lead_s=lead_s, max_restarts=9, say=say, **more).run()


def step_until(worker: Worker, condition: Callable[[], bool], ahead_s: float = 0.0) -> None:
    """Steps of the worker, whose clock runs ahead by so many seconds more at each."""
    begin, steps = time.monotonic(), 0
    while not condition():
        assert time.monotonic() < begin + 20, "waited in vain"
        worker.step(time.time() + steps * ahead_s)
        steps += 1
        time.sleep(0.02)
