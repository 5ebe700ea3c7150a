"""A warm worker for the `train.py`s below this process: started with it, ended with it."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.config.warm_start import WARM_WORKER, WORKER_MODULE, listen_at

ROOT = Path(__file__).resolve().parents[2]  # whose train.py a worker stands in for
_PATIENCE_S = 20.0  # for what it has forked to end
_LONGEST_FOLDER = 90  # characters; the address of a Unix socket holds 107


@contextmanager
def warm_worker(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The variables that point `train.py` at a worker started under `environment`, which has to be
    that of the runs. It is there at once; a run that comes while it starts waits for it. Empty
    where none can be started: then every run imports by itself, as it does when the worker dies.
    """
    folder = None
    try:
        folder = _folder()
        with listen_at(folder / "s") as listener:
            process = subprocess.Popen(
                [sys.executable, "-m", WORKER_MODULE, str(folder / "s"), str(listener.fileno())],
                env=dict(environment),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C is for the runs; their agents pass it on to them
            )
    except OSError:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        yield {}
        return
    try:
        yield {WARM_WORKER: str(folder / "s")}
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.terminate()  # where it still imports, it does not look at its input
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    """For this user alone; in /tmp where the job's own directory has too long a name."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    if len(str(folder)) <= _LONGEST_FOLDER:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="warm-", dir="/tmp"))
