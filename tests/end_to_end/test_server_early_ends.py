"""Real agents whose program ends before it reaches W&B: told once, never handed out in vain."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.server.process import ServerAddress, running_server
from tests.end_to_end.server_client import Client, client_of
from tests.processes import ROOT

SWEEP = "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {x: {values: %s}}\n"
GOOD = "import wandb\nwandb.init().log({'loss': 1})\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerAddress]:
    with running_server(tmp_path_factory.mktemp("server")) as address:
        yield address


def work(client: Client, sweep: str) -> tuple[int, str]:
    """Exit status and log of an agent that works through the sweep."""
    log = client.work / "agent.log"
    words = ["-m", "agent.tracking.agent_program", "agent", "--forward-signals", sweep]
    with log.open("a") as file:
        status = subprocess.run(
            [sys.executable, *words],
            env={**client.env, "PYTHONPATH": str(ROOT), "SWEEP_AGENT_LOG": str(log)},
            cwd=client.work,
            stdout=file,
            stderr=file,
            timeout=120,
            check=False,
        ).returncode
    return status, log.read_text()


def rows(client: Client, sweep: str) -> list[list[Any]]:
    """State, reason and log of every run, the oldest first."""
    found = client.python(
        f"import wandb\nruns = wandb.Api().sweep({sweep!r}).runs\n"
        "answer = [[r.state, r.summary.get('stopped/reason'), r.config.get('slurm/log_path')]"
        " for r in sorted(runs, key=lambda r: r.config['x'])]"
    )
    return list(found)


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("", 1, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("command: ['${env}', pythn3, '${program}']\n", 127, "pythn3"),
        ("command: ['./nothing', '${program}']\n", 127, "./nothing"),
        ("command: ['${env}', '${interpreter}', gone.py]\n", 2, "gone.py"),
    ],
)
def test_an_agent_leaves_at_the_second_program_in_a_row_that_never_reaches_wandb(
    server: ServerAddress, tmp_path: Path, command: str, status: int, said: str
) -> None:
    """The first has failed, with its reason; no other point of the sweep is used up."""
    client = client_of(server, tmp_path)
    sweep = client.make_sweep(SWEEP % "[1, 2, 3]" + command, "import no_such_module\n")
    code, log = work(client, sweep)
    assert code == 78, log
    assert log.count("ended before it reached W&B") == 2
    first, second = rows(client, sweep)
    assert first[0] == "failed"
    assert first[1].startswith(f"ended before it reached W&B, exit status {status}: ")
    assert said in first[1]
    assert first[2] == str(tmp_path / "agent.log")
    assert second[0] == "preempted"  # handed back

    (tmp_path / "nothing").write_text(f"#!/bin/sh\nexec {sys.executable} train.py\n")
    (tmp_path / "nothing").chmod(0o755)
    (tmp_path / "train.py").write_text(GOOD)
    if not command or "nothing" in command:  # mended: the others are there to be run
        assert work(client, sweep)[0] == 0
        assert [row[0] for row in rows(client, sweep)] == ["failed", "finished", "finished"]


def test_an_agent_whose_one_run_never_reached_wandb_ends_with_the_status_that_says_so(
    server: ServerAddress, tmp_path: Path
) -> None:
    client = client_of(server, tmp_path)
    sweep = client.make_sweep(SWEEP % "[1]", "raise SystemExit('no such column')\n")
    code, log = work(client, sweep)
    assert code == 78, log
    assert rows(client, sweep)[0][:2] == [
        "failed",
        "ended before it reached W&B, exit status 1: no such column",
    ]


def test_a_point_whose_program_ends_early_costs_the_others_nothing(
    server: ServerAddress, tmp_path: Path
) -> None:
    client = client_of(server, tmp_path)
    program = f"import sys\nif '--x=2' in sys.argv:\n    sys.exit('x is even')\n{GOOD}"
    sweep = client.make_sweep(SWEEP % "[1, 2, 3, 4]", program)
    code, log = work(client, sweep)
    assert code == 0, log
    found = rows(client, sweep)
    assert [row[0] for row in found] == ["finished", "failed", "finished", "finished"]
    assert found[1][1].endswith("exit status 1: x is even")


def test_a_program_that_is_stopped_or_preempted_early_has_not_failed(
    server: ServerAddress, tmp_path: Path
) -> None:
    """Its status says that the point is to be tried again, as its signal does."""
    client = client_of(server, tmp_path)
    once = (
        "import os, sys\nif not os.path.exists('seen'):\n    open('seen', 'w')\n    sys.exit(75)\n"
    )
    sweep = client.make_sweep(SWEEP % "[1]", once + GOOD)
    code, log = work(client, sweep)
    assert code == 0, log
    assert "ended before it reached W&B" not in log
    assert rows(client, sweep)[0][0] == "finished"
    assert (tmp_path / "seen").exists()
