"""What a worker of a task runs: a `wandb agent` on a sweep, or one grid point by itself."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agent.cluster import processes
from agent.cluster.claims import Claim
from agent.cluster.processes import GridPointProcess
from agent.tracking.first_commands import ON_INPUT, FirstCommands, hand_back


class Work(Protocol):
    """Something a worker starts, watches and ends."""

    @property
    def label(self) -> str: ...

    @property
    def sweep(self) -> str: ...

    @property
    def is_agent(self) -> bool: ...

    @property
    def run_id(self) -> str:
        """Of the one grid point; empty for an agent, which runs many."""
        ...

    def start(self) -> "subprocess.Popen[bytes]": ...

    def grid_points(self, pid: int) -> list[GridPointProcess]:
        """The grid points that the started process has running."""
        ...

    def freeze(self, pid: int) -> None:
        """Keep it from taking new grid points; those that run go on."""
        ...

    def hand_back(self) -> None:
        """It has ended before it began the grid point that it was given, if it was given one."""
        ...


@dataclass(frozen=True)
class AgentWork:
    """A real `wandb agent`, until the server says that its sweep needs no more agents. It asks for
    the next point as soon as a run has ended: see `agent.tracking.agent_program`. With `first` it
    is the agent that was given these commands.
    """

    sweep: str
    environment: Mapping[str, str] = field(repr=False)
    first: FirstCommands | None = None

    @property
    def label(self) -> str:
        return f"wandb agent {self.sweep}"

    @property
    def is_agent(self) -> bool:
        return True

    @property
    def run_id(self) -> str:
        return ""

    def start(self) -> "subprocess.Popen[bytes]":
        known = [ON_INPUT] if self.first else []
        command = [*known, "agent", "--forward-signals", self.sweep]
        process = subprocess.Popen(
            [sys.executable, "-m", "agent.tracking.agent_program", *command],
            env=dict(self.environment),
            stdin=subprocess.PIPE,
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:  # it has died: seen soon enough
            process.stdin.write((self.first.to_json() if self.first else "").encode())
        return process

    def grid_points(self, pid: int) -> list[GridPointProcess]:
        return processes.grid_points_below(pid)

    def freeze(self, pid: int) -> None:
        """A stopped agent asks for nothing; asked to leave, it would take one more point first."""
        processes.send(pid, signal.SIGSTOP)

    def hand_back(self) -> None:
        if self.first is not None:
            hand_back(self.first.agent_id, self.environment)


@dataclass(frozen=True)
class PointWork:
    """A grid point that this task has to run itself, as the agent would."""

    claim: Claim
    environment: Mapping[str, str] = field(repr=False)

    @property
    def label(self) -> str:
        return f"run {self.claim.run_id} of {self.claim.sweep}"

    @property
    def sweep(self) -> str:
        return self.claim.sweep

    @property
    def is_agent(self) -> bool:
        return False

    @property
    def run_id(self) -> str:
        return self.claim.run_id

    def start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            list(self.claim.argv),
            env={**self.environment, **self.claim.variables},
            cwd=self.claim.directory or None,
            stdin=subprocess.DEVNULL,
            process_group=0,
        )

    def grid_points(self, pid: int) -> list[GridPointProcess]:
        if not processes.is_running(pid):
            return []
        claim = self.claim
        name = claim.variables.get("WANDB_SWEEP_ID", "")
        known = {**self.environment, **claim.variables}
        return [GridPointProcess(pid, claim.run_id, name, claim.argv, known, claim.directory)]

    def freeze(self, pid: int) -> None:
        """It takes no other point anyway."""

    def hand_back(self) -> None:
        """Its claim lies in the task's file, for the next life."""


def slots(visible: str | None, *, gpus_per_agent: int, agents_per_gpu: int) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of every agent of a task; None leaves it as it is.

    `visible` is what Slurm has given the task. With several GPUs per agent the rest of an uneven
    division stays idle; with several agents per GPU they share it.
    """
    devices = [word.strip() for word in (visible or "").split(",") if word.strip()]
    if len(devices) <= 1 or len(devices) < gpus_per_agent:
        return [None] * agents_per_gpu
    groups = [
        ",".join(devices[i : i + gpus_per_agent])
        for i in range(0, len(devices) - gpus_per_agent + 1, gpus_per_agent)
    ]
    return [group for group in groups for _ in range(agents_per_gpu)]


def agent_environment(
    base: Mapping[str, str],
    *,
    files_dir: Path,
    devices: str | None,
    extra: Mapping[str, str],
    cores: int = 1,
) -> dict[str, str]:
    """What an agent and its grid points run under; `cores` are its share of the task's.

    Preempted runs end with a non-zero status by W&B's own rule, so both of the agent's rules
    against failing sweeps would shut it down in a bad hour; they are switched off here.
    """
    environment = {
        **base,
        **extra,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), base.get("PATH", os.defpath)]),
        "WANDB_AGENT_DISABLE_FLAPPING": "true",
        "WANDB_AGENT_MAX_INITIAL_FAILURES": "1000000",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_DIR": str(files_dir),
        "PYTHONUNBUFFERED": "1",
    }
    # More threads than the task has cores make a training many times slower.
    environment.setdefault("OMP_NUM_THREADS", str(max(cores, 1)))
    if devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = devices
    return environment


def read_assignments(lines: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE lines, as `sweep-agent prepare` writes them; # starts a comment."""
    words = (line.strip().removeprefix("export ") for line in lines)
    pairs = (word.split("=", 1) for word in words if "=" in word and not word.startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, value in pairs}
