"""Storages: which places are understood, how a wrong one is refused, and a real PostgreSQL."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from agent.errors import ConfigError, StudyError
from agent.search import paired_pruner
from agent.search.storages import open_storage, release_connections, shown
from agent.search.studies import release_stale
from tests.processes import run_python
from tests.search import postgres, trial_lab

ROOT = Path(__file__).parents[2]
NOWHERE = Path("/nonexistent/journal")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    reason = postgres.why_not()
    if reason:
        pytest.skip(reason)
    with postgres.running_server() as url:
        yield url


def opened(url: str, run: str, rate: float, scope: str = "me/p") -> Any:
    return trial_lab.opened(NOWHERE, run, rate, scope=scope, pruning_storage=url)


def trials_in(url: str, name: str) -> list[optuna.trial.FrozenTrial]:
    storage = open_storage(url, NOWHERE)
    try:
        found = next(n for n in optuna.get_all_study_names(storage) if n.startswith(name))
        return optuna.load_study(study_name=found, storage=storage).trials
    finally:
        release_connections(storage)


def examples(mean: float) -> dict[str, float]:
    return {f"e{i}": mean + 0.01 * (i % 5) * mean for i in range(30)}


@pytest.mark.xdist_group("postgres")  # one server for the three
def test_two_runs_prune_through_postgresql_and_a_resumed_one_goes_on(database: str) -> None:
    with opened(database, "a", 1e-3) as good:
        for rung in (1, 2):
            good.report(rung, examples(0.8))
        with opened(database, "b", 1e-2) as bad:
            bad.report(1, examples(0.3))
            assert bad.report(2, examples(0.3)).prune
        good.suspend()
    with opened(database, "a", 1e-3) as good:
        assert good.reported_rungs == (1, 2)
        good.report(1, examples(0.1))
        good.report(3, examples(0.8))
        name = good.study_name
    (complete, pruned) = trials_in(database, name)
    assert (complete.state, pruned.state) == (TrialState.COMPLETE, TrialState.PRUNED)
    assert complete.params == {"learning_rate": 1e-3}


@pytest.mark.xdist_group("postgres")  # one server for the three
def test_a_dead_workers_trial_in_postgresql_is_freed_and_taken_up_again(database: str) -> None:
    with opened(database, "killed", 1e-3, scope="dead") as trial:
        trial.report(1, examples(0.5))
        release_stale(trial._storage, time.time() + 3600)  # as another worker would, later
        (state,) = {t.state for t in trial._study.trials}
        assert state == TrialState.WAITING
        trial.suspend()
    with opened(database, "killed", 1e-3, scope="dead") as trial:
        assert trial.reported_rungs == (1,)
        assert [t.state for t in trial._study.trials] == [TrialState.RUNNING]
        trial.suspend()


@pytest.mark.xdist_group("postgres")  # one server for the three
def test_processes_share_postgresql_from_its_first_table_on(database: str, tmp_path: Path) -> None:
    words = [database, "3", "1", "0.3", str(tmp_path)]
    done = run_python("tests/search/journal_load.py", *words)
    found = json.loads(done.stdout)
    assert (found["failed"], found["reports"]) == (0, 3)
    trials = trials_in(database, "load/test")
    assert sorted(t.system_attrs[paired_pruner.RUN] for t in trials) == [
        f"run{i}" for i in range(3)
    ]
    assert all(sorted(t.intermediate_values) == [1] for t in trials)


PROXY = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import optuna
from agent.search.storages import open_storage
optuna.storages.run_grpc_proxy_server(
    open_storage(sys.argv[1], Path("/nowhere")), host="127.0.0.1", port=int(sys.argv[2])
)
"""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[str]:
    """Optuna's storage proxy in front of a journal, as a login node would run it."""
    pytest.importorskip("grpc", reason="grpcio is not installed (pip install grpcio)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    words = [sys.executable, "-c", PROXY, str(tmp_path / "j"), port]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(ROOT)}) as server:
        yield f"grpc://127.0.0.1:{port}"
        server.terminate()


def test_runs_prune_through_optunas_storage_proxy(proxy: str) -> None:
    with opened(proxy, "a", 1e-3) as good:
        for rung in (1, 2):
            good.report(rung, examples(0.8))
        with opened(proxy, "b", 1e-2) as bad:
            bad.report(1, examples(0.3))
            assert bad.report(2, examples(0.3)).prune
        good.suspend()
    states = [trial.state for trial in trials_in(proxy, "me/p")]
    assert states == [TrialState.WAITING, TrialState.PRUNED]


def test_a_server_that_is_not_there_is_one_line_without_the_password() -> None:
    with pytest.raises(StudyError, match="the pruning storage postgresql://…@127") as caught:
        open_storage("postgresql://me:secret-word@127.0.0.1:1/db", NOWHERE)
    assert "secret-word" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "check pruning_storage" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:////tmp/x.db", "SQLite is not safe on a shared file system"),
        ("outputs/journal", "must be an absolute path of a journal, or one of journal://"),
        ("ftp://host/x", "'ftp://host/x': must be an absolute path"),
        ("journal://relative/j", "'relative/j' is not absolute"),
    ],
)
def test_a_place_that_cannot_be_shared_is_refused_with_the_valid_ones(
    url: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_storage(url, NOWHERE)


@pytest.mark.parametrize("form", ["{}", "journal://{}"])
def test_a_journal_can_be_named_by_path_or_url(tmp_path: Path, form: str) -> None:
    url = form.format(tmp_path / "deep" / "j.journal")
    optuna.create_study(storage=open_storage(url, NOWHERE))
    assert (tmp_path / "deep" / "j.journal").stat().st_size > 0


def test_a_url_is_shown_without_what_is_secret_in_it() -> None:
    assert shown("postgresql://me:pw@host/db?sslkey=x") == "postgresql://…@host/db"
    assert shown("/a/journal") == "/a/journal"
    assert shown(None) == "the pruning journal"
