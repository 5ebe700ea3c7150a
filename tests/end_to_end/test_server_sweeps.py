"""Real agents over faults: a killed server, a killed run; and the flags of `wandb sweep`."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from agent.server.process import (
    ServerAddress,
    end_server,
    running_server,
    start_server,
    wait_until_ready,
)
from agent.server.sync.remote import Remote
from tests.end_to_end.server_client import Client, client_of
from tests.processes import ROOT, run_python

SLOW = """
import os, time, wandb
with wandb.init(resume="allow") as run:
    open(f"started-{run.id}-{os.getpid()}", "w").close()
    for step in range(run.starting_step, 9):
        run.log({"loss": 9 - step}, step=step)
        time.sleep(float(os.environ.get("PACE_S", "0.3")))
"""
Found = TypeVar("Found")
ONE = "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {x: {values: [1]}}\n"


def wait_for(found: Callable[[], Found | None], timeout_s: float = 60) -> Found:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerAddress]:
    with running_server(tmp_path_factory.mktemp("server")) as address:
        yield address


def test_a_live_agent_rides_out_a_killed_run_and_a_killed_server(tmp_path: Path) -> None:
    """The killed run is handed out again under its id and resumes, over the server's restart."""
    data = tmp_path / "data"
    process = start_server(data, 0, ["--settle-s", "1"])
    agent: subprocess.Popen[str] | None = None
    try:
        note = wait_until_ready(process, data)
        client = Client(tmp_path / "client", note.environment())
        sweep = client.make_sweep(ONE, SLOW)
        agent = client.start("agent", sweep)
        first = wait_for(lambda: next(client.work.glob("started-*"), None))
        run_id, pid = first.name.split("-")[1:]
        time.sleep(2)
        os.kill(int(pid), signal.SIGKILL)
        wait_for(lambda: len(list(client.work.glob(f"started-{run_id}-*"))) == 2)
        time.sleep(0.5)
        process.kill()
        process.wait()
        process = start_server(data, 0, ["--settle-s", "1"])
        assert wait_until_ready(process, data).url == note.url
        said, _ = agent.communicate(timeout=90)
        assert agent.returncode == 0, said
        found = client.python(
            f"import wandb\nsweep = wandb.Api().sweep({sweep!r})\n"
            "answer = [sweep.state, [[r.id, r.state, "
            "[h['_step'] for h in r.scan_history(keys=['_step'])]] for r in sweep.runs]]"
        )
        assert found == ["FINISHED", [[run_id, "finished", list(range(9))]]]
    finally:
        if agent is not None and agent.poll() is None:
            os.killpg(agent.pid, signal.SIGKILL)
            agent.wait()
        end_server(process)


def test_the_flags_of_wandb_sweep_steer_it(server: ServerAddress, tmp_path: Path) -> None:
    client = client_of(server, tmp_path)
    prior = client.python(
        "import wandb\nwith wandb.init(project='study', config={'x': 1}) as run:\n"
        "    run.log({'loss': 1})\nanswer = run.id"
    )
    three = ONE.replace("[1]", "[1, 2, 3]")
    sweep = client.make_sweep(three, SLOW, "--prior_run", prior, "--name", "first")
    short = sweep.rsplit("/", 1)[1]

    remote = Remote(server.base_url, server.env["WANDB_API_KEY"])

    def state() -> str:
        found = remote.ask(f'''{{project(name: "study") {{sweep(sweepName: "{short}")
            {{state displayName config runs {{edges {{node {{config}}}}}}}}}}}}''')
        seen.update(found["project"]["sweep"])
        return str(seen["state"])

    seen: dict[str, Any] = {}
    assert state() == "PENDING"
    client.env["PACE_S"] = "0"
    client.wandb("agent", "--count", "1", sweep)  # x=1 is known from before
    client.wandb("sweep", "--pause", sweep)
    assert state() == "PAUSED"
    client.wandb("sweep", "--resume", sweep)
    (client.work / "sweep.yaml").write_text(ONE.replace("[1]", "[1, 2, 3, 4]"))
    client.wandb("sweep", "--project", "study", "--update", short, "sweep.yaml")
    assert state() == "RUNNING"
    assert yaml.safe_load(seen["config"])["parameters"]["x"]["values"] == [1, 2, 3, 4]
    client.wandb("sweep", "--cancel", sweep)
    assert state() == "CANCELED"
    tried = [json.loads(edge["node"]["config"])["x"]["value"] for edge in seen["runs"]["edges"]]
    assert tried == [2]
    refused = client.wandb("sweep", "--stop", sweep, check=False)
    assert "already canceled" in refused
    short = client.make_sweep(three, SLOW).rsplit("/", 1)[1]
    client.wandb("sweep", "--stop", f"local/study/{short}")
    assert state() == "FINISHED"


def test_a_bad_sweep_is_refused_with_every_fault(server: ServerAddress, tmp_path: Path) -> None:
    client = client_of(server, tmp_path)
    (tmp_path / "bad.yaml").write_text(
        "method: gird\nparameters: {x: {distribution: nromal}, y: {values: []}}\n"
    )
    said = client.wandb("sweep", "--project", "study", "bad.yaml", check=False)
    for part in ("gird", "parameters.x", "parameters.y"):
        assert part in said
    assert "Traceback" not in said


OPTIMIZER = """
import optuna
def study(sweep): return optuna.create_study(direction="minimize")
def space(trial): return {"x": trial.suggest_float("x", 0.0, 1.0)}
"""
SCHEDULED = """
program: train.py
method: custom
run_cap: 2
metric: {name: loss}
scheduler: {engine: optuna, source: optimizer.py, optimizer: study, search_space: space}
"""
QUICK = "import wandb\nwith wandb.init() as run:\n    run.log({'loss': run.config.x})\n"


def test_the_clients_own_scheduler_drives_a_sweep(server: ServerAddress, tmp_path: Path) -> None:
    client = client_of(server, tmp_path)
    (tmp_path / "optimizer.py").write_text(OPTIMIZER)
    sweep = client.make_sweep(SCHEDULED, QUICK)
    agent = client.start("agent", sweep)
    try:
        said = client.wandb("sweep-scheduler", "--batch-size", "2", sweep, timeout_s=120)
        agent.communicate(timeout=60)
    finally:
        if agent.poll() is None:
            os.killpg(agent.pid, signal.SIGKILL)
            agent.wait()
    assert "the sweep is FINISHED" in said
    found = client.python(
        f"import wandb\nruns = wandb.Api().sweep({sweep!r}).runs\n"
        "answer = [[r.state, r.config['x'] == r.summary['loss']] for r in runs]"
    )
    assert found == [["finished", True], ["finished", True]]


def test_a_sweep_lists_thousands_of_files_and_ends_at_its_target(
    server: ServerAddress, tmp_path: Path
) -> None:
    client = client_of(server, tmp_path)
    files = [f"data/part-{number:05d}/train, cleaned.json" for number in range(5000)]
    config = {
        "program": "train.py",
        "method": "grid",
        "metric": {"name": "score", "goal": "maximize", "target": 2.5},
        "parameters": {"file": {"values": files}},
    }
    program = (
        "import wandb\nwith wandb.init() as run:\n"
        "    number = int(run.config.file[10:15])\n"
        "    run.define_metric('score', summary='min,max')\n"
        "    for score in (number + 1, 0.5):\n        run.log({'score': score})\n"
    )
    sweep = client.make_sweep(yaml.safe_dump(config), program)
    client.wandb("agent", sweep, timeout_s=120)
    found = client.python(
        f"import wandb\nsweep = wandb.Api().sweep({sweep!r})\n"
        "runs = wandb.Api().runs(sweep.project, order='-summary_metrics.score', "
        "filters={'sweep': sweep.id, 'summary_metrics.score': {'$gt': 1.5}})\n"
        "answer = [sweep.state, sweep.expected_run_count, [run.config['file'] for run in runs]]"
    )
    assert found == ["FINISHED", 5000, [files[2], files[1]]]


def test_an_agent_loads_wandb_only_when_it_has_a_point(
    server: ServerAddress, tmp_path: Path
) -> None:
    """The first goes on as the agent that has registered: no other could take its point."""
    client = client_of(server, tmp_path)
    sweep = client.make_sweep(ONE, "import wandb\nwandb.init().log({'loss': 1})\n")
    words = ["-X", "importtime", "-m", "agent.tracking.agent_program"]
    words += ["agent", "--forward-signals", sweep]

    def work() -> str:
        done = run_python(*words, env=client.env, cwd=client.work, timeout_s=90)
        return done.stdout + done.stderr

    first, second = work(), work()
    assert re.search(r"\| +wandb$", first, re.MULTILINE)
    assert "Received exit command" in first
    assert not re.search(r"\| +wandb$", second, re.MULTILINE)
    assert f"{sweep} has no grid point for one more agent" in second
    (run,) = client.python(
        f"import wandb\nanswer = [r.state for r in wandb.Api().sweep({sweep!r}).runs]"
    )
    assert run == "finished"


def test_an_agent_of_an_unknown_sweep_lets_wandb_say_so(
    server: ServerAddress, tmp_path: Path
) -> None:
    client = client_of(server, tmp_path)
    words = ["-m", "agent.tracking.agent_program", "agent", f"{server.entity}/study/nowhere1"]
    done = run_python(*words, env=client.env, cwd=client.work, status=1, timeout_s=90)
    assert "nowhere1" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)],
)
def test_an_agent_that_waits_without_wandb_ends_by_a_signal_and_holds_no_point(
    server: ServerAddress, tmp_path: Path, number: int, status: int
) -> None:
    client = client_of(server, tmp_path)
    sweep = client.make_sweep(ONE.replace("[1]", "[1, 2, 3]"), "import wandb\nwandb.init()\n")
    words = ["-m", "agent.tracking.agent_program", "agent", "--forward-signals"]
    one = [*words, "--count", "1", sweep]
    run_python(*one, env=client.env, cwd=client.work, timeout_s=90)
    client.wandb("sweep", "--pause", sweep)
    agent = subprocess.Popen(
        [sys.executable, *words, sweep],
        env={**client.env, "PYTHONPATH": str(ROOT)},
        cwd=client.work,
        stderr=subprocess.PIPE,
        text=True,
    )
    remote = Remote(server.base_url, server.env["WANDB_API_KEY"])
    question = f'''{{project(name: "study") {{sweep(sweepName: "{sweep.rsplit("/", 1)[1]}")
        {{agents {{edges {{node {{id}}}}}}}}}}}}'''
    wait_for(lambda: len(remote.ask(question)["project"]["sweep"]["agents"]["edges"]) == 2)
    agent.send_signal(number)
    _, said = agent.communicate(timeout=60)
    assert (agent.returncode, "Traceback" in said) == (status, False)
    client.wandb("sweep", "--resume", sweep)
    for _ in range(2):
        run_python(*one, env=client.env, cwd=client.work, timeout_s=90)
    found = client.python(
        f"import wandb\nanswer = [r.state for r in wandb.Api().sweep({sweep!r}).runs]"
    )
    assert found == ["finished"] * 3
