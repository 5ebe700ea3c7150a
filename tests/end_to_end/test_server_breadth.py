"""What else users of the client do: media, filters, branches, sweeps of functions, the commands."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.server.process import ServerAddress, running_server
from agent.server.sync.remote import Remote
from tests.end_to_end.server_client import Client, client_of
from tests.end_to_end.server_load import CREATE_AGENT, HEARTBEAT, UPSERT_SWEEP

LOG_EVERYTHING = """
import numpy, os, wandb
with wandb.init(project="wide", id="one", name="first", tags=["a", "b"], notes="n", group="g",
        config={"learning_rate": 0.001, "opt": {"name": "adam", "betas": [0.9, 0.99]}}) as run:
    run.define_metric("epoch")
    run.define_metric("loss", step_metric="epoch", summary="min")
    run.define_metric("val/*", step_metric="epoch", summary="max")
    for step in range(12):
        run.log({"epoch": step // 4, "loss": 5 - step, "val/acc": step / 10,
                 "deep": {"er": {"x": step}}, "h": wandb.Histogram(numpy.arange(9))})
    picture = numpy.zeros((8, 8, 3), dtype=numpy.uint8)
    run.log({"table": wandb.Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]]),
             "image": wandb.Image(picture, caption="black"), "nan": float("nan"),
             "inf": float("inf"), "none": None})
    os.makedirs("sub/dir", exist_ok=True)
    for name in ("sub/dir/with space ü.txt", "live.txt", "end.txt"):
        open(name, "w").write("text of " + name)
    run.save("sub/dir/*.txt", base_path="sub", policy="now")
    run.save("live.txt", policy="live"); run.save("end.txt", policy="end")
    run.summary["best"] = {"nested": {"v": 1}}
    run.config.update({"later": 5})
for number, (rate, code) in enumerate([(0.1, 0), (0.01, 1)]):
    other = wandb.init(project="wide", id=f"s{number}", config={"learning_rate": rate})
    if code: other.alert("it fails", "with 1", level=wandb.AlertLevel.ERROR)
    other.log({"x": 3 - number}); other.finish(exit_code=code)
answer = 0
"""
READ_EVERYTHING = """
import wandb
def names(filters=None, order="+created_at"):
    return [r.id for r in wandb.Api().runs("local/wide", filters=filters, order=order, per_page=2)]
api = wandb.Api()
run = api.run("local/wide/one")
def fails(what):
    try: what()
    except Exception as error: return type(error).__name__
small = {"config.learning_rate": {"$lt": 0.01}}
answer = {
    "small": names(small), "not": names({"$not": small}), "state": names({"state": "finished"}),
    "or": names({"$or": [{"state": "failed"}, {"tags": {"$in": ["a"]}}]}),
    "nested": names({"config.opt.name": "adam", "summary_metrics.best.nested.v": 1}),
    "pattern": names({"display_name": {"$regex": "^fi"}}),
    "since": names({"created_at": {"$gt": "2020-01-01T00:00:00"}, "group": "g"}),
    "newest": names(order="-created_at"), "metric": names(order="+summary_metrics.x"),
    "rate": names(order="-config.learning_rate"), "full": [
        r.summary.get("x") for r in api.runs("local/wide", lazy=False)],
    "summary": [run.summary["loss"]["min"], run.summary["val/acc"]["max"],
                run.summary["best"]["nested"]["v"]],
    "system": [key for key in run.system_metrics if key.startswith("system.")],
    "config": run.config, "keys": run.history(keys=["loss", "val/acc"], samples=3, pandas=False),
    "deep": run.history(keys=["deep.er.x"], samples=2, pandas=False),
    "by epoch": run.history(keys=["loss"], x_axis="epoch", samples=1, pandas=False)[0]["epoch"],
    "part": [row["_step"] for row in run.scan_history(min_step=5, max_step=8)],
    "odd": [[row["nan"], row["inf"]] for row in run.scan_history(keys=["nan", "inf"])],
    "table": api.artifact("local/wide/run-one-table:v0").get("table").data,
    "files": [f.name for f in run.files() if "." in f.name and "wandb" not in f.name],
    "media": [f.name.split("/")[1] for f in run.files(pattern="media/%")],
    "text": [run.file(name).download(root="down", replace=True).read()
             for name in ("dir/with space ü.txt", "live.txt", "end.txt")],
    "restored": open(wandb.restore("end.txt", run_path="local/wide/one", root="back").name).read(),
    "absent": [fails(lambda: wandb.restore("no.txt", run_path="local/wide/one")),
               fails(lambda: api.run("local/wide/no")), fails(lambda: api.sweep("local/wide/no")),
               fails(lambda: len(api.runs("local/no"))), fails(lambda: len(api.runs("no/wide")))],
    "reports": len(list(api.reports("local/wide"))), "viewer": api.viewer.username,
    "made": api.create_run(project="wide", run_id="made").id,
}
api.run("local/wide/one").delete(delete_artifacts=True)
answer["left"] = [names(), api.artifact_exists("local/wide/run-one-table:v0")]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[ServerAddress]:
    with running_server(data) as address:
        yield address


@pytest.fixture(scope="module")
def client(server: ServerAddress, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return client_of(server, tmp_path_factory.mktemp("client"))


def test_whatever_a_run_logs_is_found_sorted_and_read_back(client: Client, data: Path) -> None:
    client.python(LOG_EVERYTHING)
    found = client.python(READ_EVERYTHING)
    assert found["small"] == found["nested"] == found["pattern"] == found["since"] == ["one"]
    assert found["not"] == ["s0", "s1"]
    assert found["state"] == ["one", "s0"]
    assert found["or"] == ["one", "s1"]
    assert found["newest"] == ["s1", "s0", "one"]
    assert found["metric"] == ["s1", "s0", "one"]
    assert found["rate"] == ["s0", "s1", "one"]
    assert found["full"] == [None, 3, 2]
    assert found["summary"] == [-6, 1.1, 1]
    assert found["system"]
    with sqlite3.connect(f"file:{data}/server.db?mode=ro", uri=True) as connection:
        alerts = connection.execute("SELECT title, text, severity FROM alert").fetchall()
    assert alerts == [("it fails", "with 1", "ERROR")]
    assert found["config"]["opt"] == {"name": "adam", "betas": [0.9, 0.99]}
    assert found["config"]["later"] == 5
    assert [row["loss"] for row in found["keys"]] == [5, -1, -6]
    assert [row["deep.er.x"] for row in found["deep"]] == [0, 11]
    assert found["by epoch"] == 2
    assert found["part"] == [5, 6, 7]
    assert found["odd"] == [["NaN", "Infinity"]]
    assert found["table"] == [[1, "x"], [2, "y"]]
    assert {"dir/with space ü.txt", "live.txt", "end.txt"} <= set(found["files"])
    assert {"images", "table"} <= set(found["media"])
    assert [text.removeprefix("text of ") for text in found["text"]] == [
        "sub/dir/with space ü.txt",
        "live.txt",
        "end.txt",
    ]
    assert found["restored"] == "text of end.txt"
    assert found["absent"] == ["ValueError", "CommError", "CommError", "ValueError", "ValueError"]
    assert (found["reports"], found["viewer"], found["made"]) == (0, "local", "made")
    assert found["left"] == [["s0", "s1", "made"], False]


def test_runs_fork_rewind_and_resume_as_they_are_asked(client: Client) -> None:
    found = client.python("""
import wandb
def log(values, **words):
    with wandb.init(project="branches", **words) as run:
        start = run.starting_step
        for value in values: run.log({"x": value})
    return start
def history(name):
    rows = wandb.Api().run("local/branches/" + name).scan_history(keys=["x", "_step"])
    return [[row["_step"], row["x"]] for row in rows]
def refused(**words):
    try: log([1], **words)
    except Exception as error: return str(error)
log(range(6), id="base", config={"a": 1})
answer = {"forked": log([10, 11], id="fork", fork_from="base?_step=2"), "fork": history("fork"),
    "again": log([12], id="fork", resume="must"), "fork longer": history("fork"),
    "rewound": log([20], id="base", resume_from="base?_step=3"), "base": history("base")}
run = wandb.Api().run("local/branches/base")
answer |= {"base config": run.config, "base x": run.summary["x"], "state": run.state,
    "allow": log([1], id="new", resume="allow"), "auto": log([1], resume="auto"),
    "must": refused(id="nobody", resume="must"),
    "no parent": refused(id="orphan", fork_from="nobody?_step=1"),
    "never": refused(id="new", resume="never")}
""")
    assert found["forked"] == 3
    assert found["fork"] == [[0, 0], [1, 1], [2, 2], [3, 10], [4, 11]]
    assert found["again"] == 5
    assert found["fork longer"][-1] == [5, 12]
    assert found["rewound"] == 4
    assert found["base"] == [[0, 0], [1, 1], [2, 2], [3, 3], [4, 20]]
    assert (found["base config"], found["base x"], found["state"]) == ({"a": 1}, 20, "finished")
    assert found["allow"] == found["auto"] == 0
    assert "does not exist" in found["must"]
    assert "run 'nobody' does not exist" in found["no parent"]
    assert "already exists" in found["never"]


def test_two_processes_share_one_run(client: Client) -> None:
    found = client.python("""
import subprocess, sys, wandb
code = '''
import sys, wandb
is_first = sys.argv[1] == "a"
settings = wandb.Settings(mode="shared", x_label=sys.argv[1], x_primary=is_first,
                          x_update_finish_state=is_first)
with wandb.init(project="shared", id="one", settings=settings) as run:
    for value in range(5): run.log({sys.argv[1]: value})
    if is_first: sys.stdin.read()
'''
first = subprocess.Popen([sys.executable, "-c", code, "a"], stdin=subprocess.PIPE)
subprocess.run([sys.executable, "-c", code, "b"], check=True)
first.communicate()
run = wandb.Api().run("local/shared/one")
answer = [run.state, run.summary["a"], run.summary["b"],
    [[row["a"] for row in run.scan_history(["a"])], [row["b"] for row in run.scan_history(["b"])]]]
""")
    assert found == ["finished", 4, 4, [list(range(5)), list(range(5))]]


def test_a_sweep_of_python_functions_runs_to_its_end(client: Client) -> None:
    found = client.python("""
import wandb
def train():
    with wandb.init() as run: run.log({"loss": run.config.x})
def read(name):
    sweep = wandb.Api().sweep("local/functions/" + name)
    return [sweep.state, sweep.expected_run_count, sorted(r.config["x"] for r in sweep.runs),
            sweep.best_run().config["x"], len(sweep.agents())]
grid = wandb.sweep({"method": "grid", "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"values": [3]}, "deep": {"parameters": {"d": {"value": 1}}}}},
    project="functions")
wandb.agent(grid, function=train, project="functions")
answer = read(grid)
""")
    assert found == ["FINISHED", 1, [3], 3, 1]


def test_the_clients_commands_move_artifacts_and_files(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("hello")
    (folder / "deep" / "b.txt").write_text("deep")
    client.wandb("artifact", "put", "-n", "local/shop/data", "-t", "set", "-a", "best", str(folder))
    listed = client.wandb("artifact", "ls", "local/shop")
    assert "data:v0" in listed
    client.wandb("artifact", "get", "local/shop/data:best", "--root", str(tmp_path / "got"))
    assert (tmp_path / "got" / "deep" / "b.txt").read_text() == "deep"
    maker = client.python(
        "import wandb\nrun = wandb.Api().artifact('local/shop/data:best').logged_by()\n"
        "answer = [run.id, run.state]"
    )
    assert maker[1] == "finished"
    client.wandb("pull", "-p", "shop", "-e", "local", maker[0])
    assert (client.work / "wandb-metadata.json").exists()


def test_an_offline_run_of_an_agent_takes_its_point_when_it_is_synced(
    server: ServerAddress, client: Client
) -> None:
    """Until then the server cannot tell it from a lost one."""
    remote = Remote(server.base_url, server.env["WANDB_API_KEY"])
    config = "method: grid\nmetric: {name: loss}\nparameters: {x: {values: [4]}}"
    sweep = remote.ask(UPSERT_SWEEP, config=config, projectName="away")["upsertSweep"]["sweep"]
    made = remote.ask(CREATE_AGENT, host="h", projectName="away", sweep=sweep["name"])
    agent = made["createAgent"]["agent"]["id"]

    def beat(state: str) -> list[dict[str, Any]]:
        answer = remote.ask(HEARTBEAT, id=agent, runState=state)["agentHeartbeat"]
        commands: list[dict[str, Any]] = json.loads(answer["commands"])
        return commands

    (command,) = beat("{}")
    parameters = client.work / "parameters.yaml"
    parameters.write_text("wandb_version: 1\nx: {value: 4}\n")
    client.python(
        "import wandb\nwith wandb.init() as run: run.log({'loss': run.config.x})\nanswer = 0",
        WANDB_MODE="offline",
        WANDB_SWEEP_ID=sweep["name"],
        WANDB_RUN_ID=command["run_id"],
        WANDB_ENTITY="local",
        WANDB_PROJECT="away",
        WANDB_SWEEP_PARAM_PATH=str(parameters),
    )
    (folder,) = (client.work / "wandb").glob(f"offline-run-*-{command['run_id']}")
    client.wandb("sync", str(folder))
    assert beat("{}") == [{"type": "exit"}]
    found = client.python(
        f"import wandb\nsweep = wandb.Api().sweep('local/away/{sweep['name']}')\n"
        "answer = [sweep.state, [[r.id, r.state, r.config, r.summary['loss']] for r in sweep.runs]]"
    )
    assert found == ["FINISHED", [[command["run_id"], "finished", {"x": 4}, 4]]]
