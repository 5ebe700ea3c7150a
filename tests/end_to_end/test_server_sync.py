"""From one of our servers to another: sweeps, runs and artifacts arrive whole and once."""

from pathlib import Path
from typing import Any

import pytest

from agent.errors import ServerError
from agent.server.process import running_server
from agent.server.store.database import Database
from agent.server.store.records import Project
from agent.server.sync.destination import Destination, Tally, whoami
from agent.server.sync.ledger import Ledger
from agent.server.sync.remote import Remote
from agent.server.sync.runs import sync_project
from tests.end_to_end.server_client import client_of

MAKE = """
import os, subprocess, sys, wandb
sweep = wandb.sweep({"name": "study of x", "method": "grid", "metric": {"name": "loss"},
    "parameters": {"x": {"values": [1, 2]}}}, project="study")
code = '''
import sys, wandb
with wandb.init(config={"x": 1}, tags=["t"], notes="why", group="g", name="named") as run:
    for step in range(5):
        run.log({"loss": 5 - step}, step=step)
    open("notes.txt", "w").write("notes of " + run.id); run.save("notes.txt")
    artifact = wandb.Artifact("adapter", "model", metadata={"rank": 8})
    artifact.add_file("notes.txt"); run.log_artifact(artifact, aliases=["best"]).wait()
    run.finish(exit_code=int(sys.argv[1]))
'''
for run_id, code_number in (("good", "0"), ("bad", "3")):
    env = {**os.environ, "WANDB_SWEEP_ID": sweep, "WANDB_PROJECT": "study",
           "WANDB_ENTITY": "local", "WANDB_RUN_ID": run_id}
    subprocess.run([sys.executable, "-c", code, code_number], env=env, check=True)
with wandb.init(project="study", id="reader") as run:
    run.use_artifact("adapter:best").download()
wandb.Api().sweep(f"local/study/{sweep}")
answer = sweep
"""
READ = """
import wandb
api = wandb.Api()
(sweep,) = api.project("study", "local").sweeps()
answer = {"sweep": [sweep.name, sweep.config["parameters"]]}
for run in api.runs("local/study"):
    files = {f.name: f.size for f in run.files()}
    answer[run.id] = {
        "state": run.state, "name": run.name, "config": run.config, "tags": run.tags,
        "notes": run.notes, "group": run.group, "sweep": bool(run.sweep_name),
        "history": list(run.scan_history()), "loss": run.summary.get("loss"),
        "files": files, "made": sorted(a.name for a in run.logged_artifacts()),
        "used": [a.name for a in run.used_artifacts()],
    }
best = api.artifact("local/study/adapter:best")
answer["artifact"] = [best.version, sorted(best.aliases), best.metadata,
    open(best.download() + "/notes.txt").read()]
"""


class Interrupted(Exception):
    """The connection breaks."""


class Breaking(Remote):
    """A server that is lost after some requests."""

    left = 10**9

    def _send(self, *words: Any) -> bytes:
        if type(self).left <= 0:
            raise Interrupted
        type(self).left -= 1
        return super()._send(*words)


def test_a_sync_arrives_whole_and_once_over_interruptions(tmp_path: Path) -> None:
    data = tmp_path / "here"
    with running_server(data) as here:
        source = client_of(here, tmp_path / "source")
        source.python(MAKE)
        expected = source.python(READ)
    with running_server(tmp_path / "there") as there:
        remote = Breaking(there.base_url, there.env["WANDB_API_KEY"])
        database = Database(data / "server.db")
        ledger = Ledger(data / "sync.db", there.base_url)
        to = Destination(remote, whoami(remote), ledger)
        sent = Tally()
        with database.read() as connection:
            project = Project.of(connection.execute("SELECT * FROM project").fetchone())
            interruptions = 0
            for _ in range(40):
                Breaking.left = 7
                try:
                    sent = sync_project(connection, data, to, project, lambda _: None)
                    break
                except Interrupted:
                    interruptions += 1
            assert interruptions > 3
            assert sent.artifacts <= 2
            Breaking.left = 10**9
            again = sync_project(connection, data, to, project, lambda _: None)
        assert again == Tally()
        ledger.close()
        database.close()
        found = client_of(there, tmp_path / "target").python(READ)
    assert found == expected
    assert expected["good"]["state"] == "finished"
    assert expected["bad"]["state"] == "failed"
    assert expected["good"]["sweep"] is True
    assert len(expected["good"]["history"]) == 5
    assert expected["reader"]["used"] == ["adapter:v1"]


def test_a_refusal_is_reported_in_the_servers_words(tmp_path: Path) -> None:
    with running_server(tmp_path / "there") as there:
        with pytest.raises(ServerError, match=r"HTTP 401.*unknown or revoked"):
            whoami(Remote(there.base_url, "local-" + "x" * 40))
        good = Remote(there.base_url, there.env["WANDB_API_KEY"])
        assert whoami(good) == "local"
        with pytest.raises(ServerError, match="refuses: "):
            good.ask("query Q {nothing}")
        assert there.env["WANDB_API_KEY"] not in repr(good)
