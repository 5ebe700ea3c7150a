"""Programs that end before they reach W&B: no such interpreter or script, a module that is missing.

The server hears nothing of such a run, takes it for lost and hands its point out again, as often as
a point may be tried; W&B's cloud shows no run at all. So its agent says it in the run's place. The
first of a row is recorded as failed, with its reason; at the second nothing starts here, and the
agent leaves with 78 rather than using up the sweep.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from agent.errors import NOT_INSTALLED, Fault, TrackingError
from agent.signals import Interruption
from agent.takeover import TAKEN_OVER
from agent.tracking.paths import split_path
from agent.tracking.run_states import state_of

IN_A_ROW = 2
CLOSING_S = 120.0  # for a wandb client to start, say it and end
TAIL_BYTES = 4096
_LET_GO = (0, Fault.SITE.exit_status, Interruption.PREEMPTED.value, TAKEN_OVER)
_KILLED = "where nobody did, the host's memory ran out; ask for more with --mem"
_CRASHES = (signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV)
# Lines of a task's log that no program of a grid point has printed.
CHATTER = re.compile(r"\[supervisor |wandb: |agent: |\t|.* - wandb\.wandb_agent - ")


def is_own_end(code: int) -> bool:
    """Whether an exit status, negative for a signal, says that the program ended by itself and
    unsuccessfully: nobody stopped, preempted or killed it.
    """
    number = -code if code < 0 else code - 128 if code > 128 else 0  # as a shell reports a signal
    return number in _CRASHES if number else code not in _LET_GO


def last_line(text: str) -> str:
    """The last one that a program has printed; empty when there is none."""
    lines = (line.strip() for line in reversed(text.splitlines()) if not CHATTER.match(line))
    return next(filter(None, lines), "")


class EarlyEnds:
    """What became of the runs of one agent of ENTITY/PROJECT/SWEEP."""

    def __init__(self, sweep: str) -> None:
        self._sweep = sweep
        self._has_any_begun = False
        self._in_a_row = 0

    def note(self, run_id: str, code: int, said: str = "") -> bool:
        """A run has ended; `said` is why, where it could not even be started. True when nothing
        starts here.
        """
        if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
            print(f"run {run_id} was killed from outside (SIGKILL): {_KILLED}", flush=True)
        if not is_own_end(code) or self._has_begun(run_id):
            self._has_any_begun = True
            self._in_a_row = 0
            return False
        self._in_a_row += 1
        said = said or last_line(_log_tail())
        reason = f"ended before it reached W&B, exit status {code}" + (f": {said}" if said else "")
        print(f"agent: run {run_id} {reason}", flush=True)
        if self._in_a_row == IN_A_ROW:
            return True
        self._record(run_id, code, reason)
        return False

    def exit_status(self, code: int) -> int:
        """Of the agent, that would end with `code`: 78 when it had runs and none began."""
        return NOT_INSTALLED if self._in_a_row and not self._has_any_begun and not code else code

    def _has_begun(self, run_id: str) -> bool:
        """Also where the server cannot be asked: then nothing is known against the program."""
        try:
            return state_of(self._sweep, run_id, os.environ) not in (None, "pending")
        except (OSError, ValueError, TrackingError):
            return True

    def _record(self, run_id: str, code: int, reason: str) -> None:
        entity, project, sweep_id = split_path(self._sweep)
        names = {"ENTITY": entity, "PROJECT": project, "SWEEP_ID": sweep_id, "RUN_ID": run_id}
        words = ["failed", reason, str(code)]
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
            subprocess.run(
                [sys.executable, "-m", "agent.tracking.close_run", *words],
                env={**os.environ, **{f"WANDB_{name}": value for name, value in names.items()}},
                stdin=subprocess.DEVNULL,
                timeout=CLOSING_S,
                check=False,
            )


def _log_tail() -> str:
    """The end of the file that this process and its runs print to; empty when there is none."""
    try:
        path = Path("/proc/self/fd/2").readlink()
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
            return file.read().decode(errors="replace")
    except (OSError, ValueError):
        return ""
