"""The same core story with an older release of the client, beside the installed one."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.server.process import running_server
from tests.end_to_end.server_client import Client

RELEASE = "0.28.0"
TRAIN = """
import wandb
with wandb.init(resume="allow", tags=["t"]) as run:
    for step in range(3):
        run.log({"loss": run.config.x - step}, step=step)
    run.summary["final"] = run.config.x
    open("notes.txt", "w").write("some notes"); run.save("notes.txt")
    artifact = wandb.Artifact("adapter", "model", metadata={"rank": 8})
    artifact.add_file("notes.txt")
    run.log_artifact(artifact, aliases=["best"])
"""
SWEEP = """
program: train.py
method: grid
metric: {name: loss}
parameters: {x: {values: [5]}}
"""
READ = """
import wandb
api = wandb.Api()
sweep = api.sweep({sweep!r})
(run,) = sweep.runs
with wandb.init(project="study", id=run.id, resume="must") as again:
    resumed_at = again.starting_step
    again.log({{"loss": 9}})
    again.use_artifact("adapter:best").download()
run = wandb.Api().run(f"local/study/{{run.id}}")
answer = {{
    "version": wandb.__version__, "sweep": [sweep.state, sweep.expected_run_count],
    "run": [run.state, run.config["x"], run.summary["final"], run.tags], "resumed": resumed_at,
    "losses": [row["loss"] for row in run.scan_history(keys=["loss"])],
    "sampled": len(run.history(keys=["loss"], pandas=False)),
    "filtered": len(api.runs("local/study", filters={{"config.x": {{"$gt": 4}}}}, order="-created_at")),
    "file": run.file("notes.txt").download(root="down", replace=True).read(),
    "artifact": [[a.name, a.metadata, sorted(a.aliases)] for a in run.logged_artifacts()],
    "used": [a.name for a in run.used_artifacts()],
}}
"""  # noqa: E501


@pytest.fixture(scope="module")
def package(pytestconfig: pytest.Config) -> Path:
    """A folder with the older release, kept for the next time."""
    cache = pytestconfig.cache
    assert cache is not None
    folder = cache.mkdir(f"wandb-{RELEASE}") / "package"
    if not folder.exists():
        fresh = folder.with_name("fresh")
        words = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--retries",
            "0",
            "--timeout",
            "10",
        ]
        words += ["--target", str(fresh), f"wandb=={RELEASE}"]
        words += ["sentry-sdk>=2,<3"]  # which newer releases do without
        command = [sys.executable, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"wandb {RELEASE} cannot be installed here: {done.stderr.strip()[-200:]}")
        fresh.rename(folder)
    return folder


def test_an_older_client_tells_the_same_story(package: Path, tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        environment = {**server.env, "PYTHONPATH": str(package)}
        old = Client(tmp_path / "client", environment, (sys.executable, "-m", "wandb"))
        key = server.env["WANDB_API_KEY"]
        said = old.wandb("login", "--relogin", "--verify", "--host", server.base_url, key)
        assert "local" in said
        sweep = old.make_sweep(SWEEP, TRAIN)
        old.wandb("agent", sweep)
        found = old.python(READ.format(sweep=sweep))
    assert found["version"] == RELEASE
    assert found["sweep"] == ["FINISHED", 1]
    assert found["run"] == ["finished", 5, 5, ["t"]]
    assert found["resumed"] == 3
    assert found["losses"] == [5, 4, 3, 9]
    assert found["sampled"] == 4
    assert found["filtered"] == 1
    assert found["file"] == "some notes"
    assert found["artifact"] == [["adapter:v0", {"rank": 8}, ["best", "latest"]]]
    assert found["used"] == ["adapter:v0"]
