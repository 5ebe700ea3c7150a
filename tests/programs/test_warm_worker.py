"""A warm start is a fresh process in all but its imports; without a worker, nothing changes."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.config.warm_start import WARM_WORKER
from agent.programs import warm_client, warm_worker

ROOT = Path(__file__).resolve().parents[2]
# Stands where train.py does, so that the worker takes it for the project's.
CLIENT = """
import sys
from agent.programs import warm_client
status = warm_client.run(sys.argv[1], sys.argv[2:])
sys.exit(99 if status is None else status)
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A worker in a process of its own that imports nothing heavy and takes scripts of tmp_path."""
    serve = f"""
        import sys
        from pathlib import Path
        from agent.programs import warm_worker
        warm_worker.preload = lambda: []
        warm_worker._ROOT = Path({str(tmp_path)!r})
        warm_worker._code_state = lambda: {{}}
        sys.exit(warm_worker.main(sys.argv[1:]))
    """
    path = tmp_path / "w.sock"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(serve), str(path)], stdin=subprocess.PIPE, cwd=ROOT
    )
    while not path.exists() and process.poll() is None:
        time.sleep(0.01)
    yield path
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=20) == 0
    assert not path.exists()


@contextmanager
def start(
    worker: Path, body: str, *words: str, **options: object
) -> Iterator["subprocess.Popen[str]"]:
    script = worker.parent / "script.py"
    script.write_text(textwrap.dedent(body))
    own: Mapping[str, str] = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    environment = {**os.environ, **own, "HERE": "seen", WARM_WORKER: str(worker)}
    if not own["PYTHONPATH"]:
        del environment["PYTHONPATH"]
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(script), *words],
        env=environment,
        cwd=worker.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        umask=0o027,
    ) as process:
        yield process


def test_a_fork_is_what_the_client_is(worker: Path) -> None:
    body = """
        import json, os, sys
        umask = os.umask(0)
        print(json.dumps([sys.argv[1:], os.getcwd(), os.environ["HERE"], umask, input()]))
        print("trouble", file=sys.stderr)
        print(os.getppid())
        sys.exit(7)
    """
    with start(worker, body, "--rate", "1e-3 é") as process:
        out, err = process.communicate("a line\n", timeout=30)
    first, parent = out.splitlines()
    assert json.loads(first) == [["--rate", "1e-3 é"], str(worker.parent), "seen", 0o027, "a line"]
    assert err == "trouble\n"
    assert process.returncode == 7
    assert int(parent) != process.pid  # it was the worker's fork that did all this


def test_a_fork_ends_as_an_interpreter_does(worker: Path) -> None:
    body = """
        import atexit, sys, tempfile, threading, time
        folder = tempfile.TemporaryDirectory(dir=".")
        print("made", folder.name)
        atexit.register(print, "at the end")
        threading.Thread(target=lambda: (time.sleep(0.3), print("another thread"))).start()
        if sys.argv[1:]:
            sys.exit(sys.argv[1])
    """
    for words, status, err in (((), 0, ""), (("a reason",), 1, "a reason\n")):
        with start(worker, body, *words) as process:
            out, said = process.communicate(timeout=30)
        made, *rest = out.splitlines()
        assert rest == ["another thread", "at the end"]
        assert not (worker.parent / made.split()[1]).exists()
        assert (process.returncode, said) == (status, err)


def test_a_fork_that_fails_says_where(worker: Path) -> None:
    with start(worker, "def fail():\n    raise ValueError('why')\nfail()") as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "in fail" in said
    assert said.endswith("ValueError: why\n")


def wait_for(file: Path) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if file.exists() and file.read_text():
            return file.read_text()
        time.sleep(0.01)
    raise AssertionError(f"{file} was not written")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_signals_reach_the_fork(worker: Path, number: signal.Signals) -> None:
    body = """
        import sys, time
        from pathlib import Path
        from agent import signals
        signals.install()
        Path("ready").write_text("yes")
        while signals.requested() is None:
            time.sleep(0.01)
        sys.exit(signals.requested().value)
    """
    with start(worker, body) as process:
        wait_for(worker.parent / "ready")
        process.send_signal(number)
    assert process.wait(timeout=30) == (75 if number is signal.SIGUSR2 else 143)


def test_a_fork_that_a_signal_ends_ends_its_client_by_it(worker: Path) -> None:
    with start(worker, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)") as process:
        pass
    assert process.wait(timeout=30) == -signal.SIGKILL


def test_a_killed_client_takes_its_fork_along(worker: Path) -> None:
    body = """
        import os, time
        from pathlib import Path
        Path("pid").write_text(str(os.getpid()))
        time.sleep(600)
    """
    with start(worker, body) as process:
        fork = int(wait_for(worker.parent / "pid"))
        process.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{fork}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{fork}").exists()


def test_what_a_fork_could_not_be_is_refused(worker: Path, tmp_path: Path) -> None:
    script = tmp_path / "elsewhere"
    script.mkdir()
    code = (
        "import sys; from agent.programs import warm_client;print(warm_client.run(sys.argv[1], []))"
    )
    environment = {**os.environ, WARM_WORKER: str(worker)}
    for changes, path in (
        ({}, script / "train.py"),  # another project's
        ({"OMP_NUM_THREADS": "17"}, tmp_path / "train.py"),  # read by torch when it is imported
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**environment, **changes},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "None\n"


def test_without_a_worker_the_work_is_done_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WARM_WORKER, raising=False)
    assert warm_client.run("train.py", []) is None
    monkeypatch.setenv(WARM_WORKER, str(tmp_path / "gone.sock"))
    assert warm_client.run("train.py", []) is None


def test_the_imports_leave_neither_threads_nor_a_device() -> None:
    code = (
        "import os, sys; from agent.programs import warm_worker; warm_worker.preload();"
        "import torch;"
        "print(len(os.listdir('/proc/self/task')), torch.cuda.is_initialized(),"
        "'agent.training.trainer' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[:2] == ["1", "False"]


def test_changed_code_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agent").mkdir()
    for name in ("train.py", "agent/module.py"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr(warm_worker, "_ROOT", tmp_path)
    before = warm_worker._code_state()
    assert warm_worker._code_state() == before
    os.utime(tmp_path / "agent/module.py", ns=(1, 1))
    assert warm_worker._code_state() != before
