"""`python -m agent.cluster.job.torchrun_point COUNT PROGRAM …`: a grid point on several GPUs.

Stands in the place of the interpreter that `wandb agent` calls, and starts torchrun with one
process a GPU. torchrun knows nothing of USR2 and would end the processes 30 s after a SIGTERM, so
both signals go to rank 0 alone, which is the run: it saves, ends, and torchrun ends the others.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from agent import files
from agent.cluster import processes
from agent.signals import Interruption

LOOK_EVERY_S = 0.2
EXITS = {
    signal.SIGUSR2: Interruption.PREEMPTED.value,
    signal.SIGTERM: Interruption.STOPPED.value,
}


def interpreter(directory: Path, count: int) -> Path:
    """A directory whose `python` runs programs under torchrun with `count` processes, for PATH."""
    place = directory / f"torchrun-{count}"
    place.mkdir(parents=True, exist_ok=True)
    words = shlex.join([sys.executable, "-m", "agent.cluster.job.torchrun_point", str(count)])
    # Only a program goes to torchrun: `python -c` and `python -m` are what they always are.
    plain = shlex.quote(sys.executable)
    text = f'#!/bin/sh\ncase "$1" in -*|"") exec {plain} "$@";; esac\nexec {words} "$@"\n'
    path = place / "python"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        files.write_atomically(path, text, mode=0o755)
    return place


def rank_zero(launcher: int) -> int | None:
    """The process of rank 0 below torchrun; None before there is one."""
    for pid in processes.descendants_of(launcher):
        try:
            words = (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"RANK=0" in words and processes.is_running(pid):
            return pid
    return None


def main(words: Sequence[str]) -> int:
    waiting: list[signal.Signals] = []
    received: set[signal.Signals] = set()

    def receive(number: int, _frame: FrameType | None) -> None:
        waiting.append(signal.Signals(number))
        received.add(signal.Signals(number))

    for number in EXITS:
        signal.signal(number, receive)
    count, *program = words
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    child = subprocess.Popen([sys.executable, *torchrun, *program], env=_environment())
    while child.poll() is None:
        if waiting and (pid := rank_zero(child.pid)) is not None:
            processes.send(pid, waiting.pop(0))
        try:
            child.wait(LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            continue
    if child.returncode == 0:
        return 0
    # torchrun says 1 for every failure of a rank; what was asked for is known here.
    return next((EXITS[number] for number in EXITS if number in received), 1)


def _environment() -> dict[str, str]:
    """Without the directory of this stand-in, so that what the program starts is plain again."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    kept = [place for place in path if not Path(place).name.startswith("torchrun-")]
    return {**os.environ, "PATH": os.pathsep.join(kept)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
