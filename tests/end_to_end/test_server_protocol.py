"""The unmodified client against our server: login, a sweep, runs, artifacts, public reads."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.server.process import ServerAddress, running_server
from tests.end_to_end.server_client import Client, client_of

TRAIN = """
import wandb
with wandb.init(resume="allow", tags=["t1"], group="g", job_type="training") as run:
    print("hello from the console")
    run.alert("loss is high", "really", level=wandb.AlertLevel.WARN)
    for step in range(4):
        run.log({"loss": run.config.learning_rate * (4 - step), "nested": {"x": step}}, step=step)
    run.summary["final/score"] = run.config.learning_rate
    open("notes.txt", "w").write("some notes")
    run.save("notes.txt")
    artifact = wandb.Artifact("made-by-" + run.id, "model")
    artifact.add_file("notes.txt")
    run.log_artifact(artifact)
"""
SWEEP = """
program: train.py
method: grid
metric: {name: final/score, goal: maximize}
parameters:
  learning_rate: {values: [0.1, 0.2]}
  deep: {parameters: {depth: {value: 3}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerAddress]:
    with running_server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture(scope="module")
def client(server: ServerAddress, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return client_of(server, tmp_path_factory.mktemp("client"))


def test_login_verifies_the_key_and_refuses_an_unknown_one(
    server: ServerAddress, tmp_path: Path
) -> None:
    stranger = Client(tmp_path, {"WANDB_BASE_URL": server.base_url})
    bad = stranger.wandb(
        "login",
        "--relogin",
        "--verify",
        "--host",
        server.base_url,
        "local-" + "x" * 40,
        check=False,
    )
    assert "Currently logged in" not in bad
    good = stranger.wandb(
        "login", "--relogin", "--verify", "--host", server.base_url, server.env["WANDB_API_KEY"]
    )
    assert "Currently logged in as: local" in good


def test_a_sweep_and_its_runs_are_read_back(client: Client) -> None:
    sweep = client.make_sweep(SWEEP, TRAIN, "--name", "a name")
    client.wandb("agent", sweep)
    found = client.python(f"""
import wandb
sweep = wandb.Api().sweep({sweep!r})
best = sweep.best_run()
agent = sweep.agents()[0]
answer = {{
    "state": sweep.state, "name": sweep.name, "expected": sweep.expected_run_count,
    "runs": [[r.state, r.config, r.group, r.job_type, r.tags, r.sweep_name] for r in sweep.runs],
    "best": best.config["learning_rate"],
    "history": [[row["loss"], row["nested.x"]] for row in best.scan_history(["loss", "nested.x"])],
    "rows": len(list(best.scan_history())),
    "sampled": len(best.history(keys=["loss"], pandas=False)),
    "summary": best.summary["final/score"],
    "system": best.history(stream="events", pandas=False) is not None,
    "files": [f.name for f in best.files()],
    "artifact": [[a.type, open(a.download() + "/notes.txt").read()]
        for a in best.logged_artifacts()],
    "notes": best.file("notes.txt").download(replace=True).read(),
    "metadata": best.metadata["program"],
    "agent": [agent.totalRuns, len(list(agent.runs()))],
    "ordered": [r.config["learning_rate"] for r in
        wandb.Api().runs("local/study", order="-summary_metrics.final/score",
            filters={{"config.deep.depth": 3, "state": "finished"}}, per_page=1)],
}}
""")
    short = sweep.rsplit("/", 1)[1]
    assert (found["state"], found["name"], found["expected"]) == ("FINISHED", "a name", 2)
    for run in found["runs"]:
        assert run[0] == "finished"
        assert run[1]["deep"] == {"depth": 3}
        assert run[2:] == ["g", "training", ["t1"], short]
    assert found["best"] == found["summary"] == 0.2
    assert found["history"] == [[0.8, 0], [pytest.approx(0.6), 1], [0.4, 2], [0.2, 3]]
    assert found["rows"] == found["sampled"] == 4
    assert {"notes.txt", "wandb-metadata.json", "config.yaml"} <= set(found["files"])
    assert found["notes"] == "some notes"
    assert found["artifact"] == [["model", "some notes"]]
    assert found["metadata"].endswith("train.py")
    assert found["agent"] == [2, 2]
    assert found["ordered"] == [0.2, 0.1]


def test_artifacts_are_versioned_shared_named_used_and_fetched(client: Client) -> None:
    found = client.python("""
import wandb
open("shared.txt", "w").write("the same in every version")
for rate in (0.1, 0.2):
    with wandb.init(project="study") as run:
        artifact = wandb.Artifact("adapter", "model", metadata={"rank": 8})
        open("weights.bin", "w").write(f"weights of {rate}")
        artifact.add_file("weights.bin"); artifact.add_file("shared.txt")
        run.log_artifact(artifact, aliases=["best"])
api = wandb.Api()
versions = list(api.artifacts("model", "local/study/adapter"))
latest = api.artifact("local/study/adapter:latest")
folder = latest.download()
with wandb.init(project="study", id="consumer") as run:
    used = run.use_artifact("adapter:best")
    same = wandb.Artifact("adapter", "model", metadata={"rank": 8})
    same.add_file(folder + "/weights.bin"); same.add_file(folder + "/shared.txt")
    again = run.log_artifact(same).wait().version
latest.aliases.append("kept"); latest.description = "described"; latest.save()
api = wandb.Api()
named = api.artifact("local/study/adapter:kept")
answer = {
    "versions": [[v.version, sorted(v.aliases), v.metadata, v.size] for v in versions],
    "text": open(folder + "/weights.bin").read(),
    "entry": open(latest.get_entry("shared.txt").download(root="one")).read(),
    "again": again, "used": used.version, "named": [named.version, named.description],
    "users": [r.id for r in named.used_by()], "maker": named.logged_by().state,
    "inputs": [a.name for a in api.run("local/study/consumer").used_artifacts()],
    "types": [t.name for t in api.artifact_types("local/study")],
    "collections": [c.name for c in api.artifact_type("model", "local/study").collections()],
    "exists": [api.artifact_exists(f"local/study/{name}:v0") for name in ("adapter", "no")],
}
versions[1].delete(delete_aliases=True)
answer["left"] = [v.version for v in wandb.Api().artifacts("model", "local/study/adapter")]
""")
    assert [(v[0], v[1]) for v in found["versions"]] == [("v1", ["best", "latest"]), ("v0", [])]
    assert found["versions"][0][2] == {"rank": 8}
    assert found["text"] == "weights of 0.2"
    assert found["entry"] == "the same in every version"
    assert found["again"] == found["used"] == "v1"
    assert found["named"] == ["v1", "described"]
    assert found["users"] == ["consumer"]
    assert found["maker"] == "finished"
    assert found["inputs"] == ["adapter:v1"]
    assert "model" in found["types"]
    assert "adapter" in found["collections"]
    assert found["exists"] == [True, False]
    assert found["left"] == ["v1"]


def test_runs_are_changed_resumed_logged_to_and_deleted_through_the_api(client: Client) -> None:
    found = client.python("""
import wandb
with wandb.init(project="edits", id="one", config={"a": 1}) as run:
    run.log({"x": 1}); run.log({"x": 2})
    print("first attempt")
api = wandb.Api()
run = api.run("local/edits/one")
run.display_name = "renamed"; run.tags.append("new"); run.notes = "why"; run.config["b"] = 2
run.summary["added"] = 5
run.update()
with wandb.init(project="edits", id="one", resume="must") as run:
    resumed_at = [run.starting_step, run.resumed]
    run.log({"x": 3})
run = wandb.Api().run("local/edits/one")
lines = [line.content for line in run.console_logs()]
answer = {
    "name": run.name, "tags": run.tags, "notes": run.notes, "config": run.config,
    "added": run.summary["added"], "resumed_at": resumed_at,
    "x": [row["x"] for row in run.scan_history(keys=["x"])], "last": run.lastHistoryStep,
    "log": any("first attempt" in line for line in lines),
    "projects": sorted(p.name for p in wandb.Api().projects()),
}
run.file("config.yaml").delete()
answer["files"] = [f.name for f in wandb.Api().run("local/edits/one").files()]
run.delete()
answer["left"] = len(wandb.Api().runs("local/edits"))
""")
    assert (found["name"], found["tags"], found["notes"]) == ("renamed", ["new"], "why")
    assert found["config"] == {"a": 1, "b": 2}
    assert found["added"] == 5
    assert found["resumed_at"] == [2, True]
    assert found["x"] == [1, 2, 3]
    assert found["last"] == 2
    assert found["log"] is True
    assert "edits" in found["projects"]
    assert "config.yaml" not in found["files"]
    assert found["left"] == 0


def test_an_offline_run_is_synced_once(client: Client) -> None:
    client.python(
        "import wandb\nwith wandb.init(project='away', id='off', config={'a': 1}) as run:\n"
        "    run.log({'x': 1})\n    run.log({'x': 2})\nanswer = 0",
        WANDB_MODE="offline",
    )
    (folder,) = (client.work / "wandb").glob("offline-run-*-off")
    for _ in range(2):
        client.wandb("sync", str(folder))
    found = client.python(
        "import wandb\nrun = wandb.Api().run('local/away/off')\n"
        "answer = [run.state, run.config, [r['x'] for r in run.scan_history(keys=['x'])]]"
    )
    assert found == ["finished", {"a": 1}, [1, 2]]
