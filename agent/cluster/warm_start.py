"""A warm worker for the `train.py`s below this process: started with it or with the first of them,
ended with it."""

import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.config.warm_start import WARM_WORKER, WORKER_MODULE, listen_at

ROOT = Path(__file__).resolve().parents[2]  # whose train.py a worker stands in for
_PATIENCE_S = 20.0  # for what it has forked to end
_LONGEST_FOLDER = 90  # characters; the address of a Unix socket holds 107


@contextmanager
def warm_worker(
    environment: Mapping[str, str], *, at_first_run: bool = False
) -> Iterator[dict[str, str]]:
    """The variables that point `train.py` at a worker started under `environment`, which has to be
    that of the runs. A run that comes while it starts waits for it. With `at_first_run` it starts
    when a run asks for it: a process that finds no work has then not paid for one. Empty where
    none can be started: then every run imports by itself, as it does when the worker dies.
    """
    try:
        folder = _folder()
    except OSError:
        yield {}
        return
    try:
        with _worker(folder / "s", environment, at_first_run=at_first_run) as is_there:
            yield {WARM_WORKER: str(folder / "s")} if is_there else {}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _worker(path: Path, environment: Mapping[str, str], *, at_first_run: bool) -> Iterator[bool]:
    """Whether a worker is there for the block, or will be."""
    try:
        worker = _WarmWorker(path, environment)
    except OSError:
        yield False
        return
    waiting = threading.Thread(target=worker.start_at_first_run, daemon=True)
    if at_first_run:
        waiting.start()
    else:
        worker.start()
    try:
        yield at_first_run or worker.has_started
    finally:
        worker.stop_waiting()
        if at_first_run:
            waiting.join()
        worker.end()


class _WarmWorker:
    """The address, which is there at once, and the process that takes it over."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self._path, self._environment = path, environment
        self._listener = listen_at(path)
        self._stopped, self._stop = os.pipe()
        self._process: subprocess.Popen[bytes] | None = None

    def start_at_first_run(self) -> None:
        """Return when a run has come, or by `stop_waiting`."""
        ready, _, _ = select.select([self._listener.fileno(), self._stopped], [], [])
        if self._stopped not in ready:
            self.start()

    @property
    def has_started(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Where it cannot be started, the runs go on alone."""
        # Closed here in any case: a run that comes when the worker has died is then refused.
        with self._listener, suppress(OSError):
            number = self._listener.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-m", WORKER_MODULE, str(self._path), str(number)],
                env=dict(self._environment),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[number],
                start_new_session=True,  # Ctrl-C is for the runs; their agents pass it on to them
            )

    def stop_waiting(self) -> None:
        os.close(self._stop)

    def end(self) -> None:
        self._listener.close()
        os.close(self._stopped)
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        process.terminate()  # where it still imports, it does not look at its input
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
        process.kill()
        process.wait()


def _folder() -> Path:
    """For this user alone; in /tmp where the job's own directory has too long a name."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    if len(str(folder)) <= _LONGEST_FOLDER:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="warm-", dir="/tmp"))
