"""A warm worker is there for the block alone, and a task has one where it can help."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.cluster import warm_start
from agent.cluster.job import task
from agent.config.warm_start import WARM_WORKER


def test_a_worker_that_still_imports_ends_with_the_block(tmp_path: Path) -> None:
    with warm_start.warm_worker(os.environ) as variables:
        folder = Path(variables[WARM_WORKER]).parent
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


@pytest.mark.parametrize("at_first_run", [False, True])
def test_a_run_that_comes_at_once_is_served(at_first_run: bool) -> None:
    """Not: alone, because the worker's address is not there yet."""
    words = [sys.executable, "train.py", "--learning_rate", "none"]
    with warm_start.warm_worker(os.environ, at_first_run=at_first_run) as variables:
        environment = {**os.environ, **variables, "PYTHONPROFILEIMPORTTIME": "1"}
        done = subprocess.run(
            words, cwd=warm_start.ROOT, env=environment, capture_output=True, text=True, check=False
        )
    assert "train.py: " in done.stderr
    assert done.returncode == 2
    assert "agent.config.run_config" not in imported_by(done.stderr)  # a fork has it already


def test_a_worker_that_waits_for_a_run_starts_with_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = threading.Event()
    monkeypatch.setattr(warm_start._WarmWorker, "start", lambda _: started.set())
    with warm_start.warm_worker(os.environ, at_first_run=True) as variables:
        assert not started.is_set()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(variables[WARM_WORKER])
            assert started.wait(30)
    started.clear()
    with warm_start.warm_worker(os.environ, at_first_run=True) as variables:
        pass
    assert not started.is_set()
    assert not Path(variables[WARM_WORKER]).exists()


def test_a_run_goes_on_alone_when_its_worker_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [sys.executable, "train.py", "--learning_rate", "none"]
    with warm_start.warm_worker(os.environ, at_first_run=True) as variables:
        monkeypatch.setattr(warm_start, "WORKER_MODULE", "agent.no_such_module")
        done = subprocess.run(
            words,
            cwd=warm_start.ROOT,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "train.py: " in done.stderr


def imported_by(import_times: str) -> set[str]:
    """The modules that a process says it has imported (`python -X importtime`)."""
    return {line.rpartition("|")[2].strip() for line in import_times.splitlines() if "|" in line}


def test_the_address_fits_where_the_jobs_directory_has_a_long_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("d" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with warm_start.warm_worker(os.environ) as variables:
        assert len(variables[WARM_WORKER]) <= 107
    assert list(long.iterdir()) == []


def test_without_a_worker_runs_start_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-such-python"))
    with warm_start.warm_worker(os.environ) as variables:
        assert variables == {}


def wanted(tmp_path: Path, environment: Mapping[str, str], *words: str) -> bool:
    args = task.build_parser().parse_args(["e/p/s", "--state", str(tmp_path), *words])
    with task.warm_start(args, environment) as variables:
        return bool(variables)


def test_a_task_has_a_worker_only_where_it_can_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(warm_start.ROOT)
    assert wanted(tmp_path, {"PATH": os.environ["PATH"]})
    assert not wanted(tmp_path, {WARM_WORKER: ""})
    two = {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert not wanted(tmp_path, two, "--gpus-per-agent", "2")
    settings = tmp_path / "environment"
    settings.write_text(f"{WARM_WORKER}=\n")
    assert not wanted(tmp_path, {}, "--environment", str(settings))
    monkeypatch.chdir(tmp_path)
    assert not wanted(tmp_path, {})
