"""A grid point on several GPUs: the real torchrun, the signals, and what comes of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.cluster.job.torchrun_point import interpreter

# Rank 0 saves and ends when signalled; the others would wait for ever.
PROGRAM = """
import os, pathlib, signal, sys, time
rank, world = os.environ["RANK"], os.environ["WORLD_SIZE"]
place = pathlib.Path(sys.argv[1])
def end(number, frame):
    (place / f"signal-{rank}").write_text(signal.Signals(number).name)
    sys.exit(75 if number == signal.SIGUSR2 else 143)
signal.signal(signal.SIGUSR2, end)
signal.signal(signal.SIGTERM, end)
(place / f"rank-{rank}-of-{world}").touch()
time.sleep(float(sys.argv[2]))
"""


def start(directory: Path, seconds: float) -> "subprocess.Popen[bytes]":
    """As `wandb agent` does: /usr/bin/env python PROGRAM …"""
    (directory / "point.py").write_text(PROGRAM)
    place = interpreter(directory / "state", 2)
    environment = {**os.environ, "PATH": f"{place}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[3])
    words = ["/usr/bin/env", "python", str(directory / "point.py"), str(directory), str(seconds)]
    return subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGUSR2, 75), (signal.SIGTERM, 143)])
def test_a_notice_reaches_the_first_rank_and_its_status_comes_back(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    process = start(tmp_path, 300)
    try:
        end = time.monotonic() + 60
        while len(list(tmp_path.glob("rank-*-of-2"))) < 2:
            assert time.monotonic() < end, "torchrun did not start both"
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(timeout=60) == status
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "signal-0").read_text() == number.name


@pytest.mark.slow
def test_what_ends_well_ends_with_zero_and_other_calls_stay_plain(tmp_path: Path) -> None:
    assert start(tmp_path, 0).wait(timeout=60) == 0
    python = interpreter(tmp_path / "state", 2) / "python"
    done = subprocess.run([python, "-c", "print(1)"], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert sys.executable in python.read_text()
