"""A log that its disk does not take costs its lines and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

from agent.log_noise import LossyFile

PROGRAM = """
import sys
from agent.log_noise import outlive_a_full_log
outlive_a_full_log()
print("out", "ä" * 10000)
print("err", file=sys.stderr, flush=True)
sys.stdout.write("no newline at the end")
"""


def test_a_program_ends_well_though_its_log_is_on_a_full_disk() -> None:
    for environment in ({}, {"PYTHONUNBUFFERED": "1"}):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM],
                stdout=full,
                stderr=full,
                check=False,
                env={**os.environ, **environment},
            )
        assert done.returncode == 0


def test_a_program_whose_log_has_room_says_all_of_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == "out " + "ä" * 10000 + "\nno newline at the end"
    assert done.stderr == "err\n"


def test_what_was_lost_is_said_when_there_is_room_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as there, Path("/dev/full").open("wb") as full:
        stream = LossyFile(there.fileno())
        assert stream.write(b"one\n") == 4
        kept = os.dup(there.fileno())
        os.dup2(full.fileno(), there.fileno())
        assert stream.write(b"two\n") == 4
        os.dup2(kept, there.fileno())
        os.close(kept)
        assert stream.write(b"three\n") == 6
    text = "one\n\n[4 bytes of this log are lost: No space left on device]\nthree\n"
    assert path.read_text() == text
