"""Start a warm worker for the `train.py`s below this process, and end it with them."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.config.warm_start import WARM_WORKER

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 20.0  # for what it has forked to end


@contextmanager
def warm_worker(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The variables that point `train.py` at a worker started under `environment`, which has to be
    that of the runs. It is there at once; who comes while it imports waits for it."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.programs.warm_worker", str(folder / "s")],
        env=dict(environment),
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the runs, which hear of it from their agents
    )
    try:
        yield {WARM_WORKER: str(folder / "s")}
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
