"""What the forms of the pages change, and what they refuse."""

import json
from typing import Any

import pytest

from agent.server.app import _tidy
from agent.server.pages.changes import UNDO_S
from agent.server.store.runs import list_bin
from tests.server.pages_reader import data, log_in, make_run, see, token_in
from tests.server.server_lab import Lab


def change(lab: Lab, action: str, runs: str, **more: str) -> dict[str, Any]:
    """What the page's script gets for an action."""
    log_in(lab)
    token = token_in(lab.http.get("/local/p").text.replace('data-token="', 'name="token" value="'))
    form = {"token": token, "action": action, "runs": runs, **more}
    answer = lab.http.post("/local/p/change", data=form, headers={"Accept": "application/json"})
    found: dict[str, Any] = {"status": answer.status_code, **answer.json()}
    return found


def names(lab: Lab) -> list[str]:
    found: list[str] = data(lab, "/local/p/data")["ids"]
    return found


def listed(lab: Lab) -> list[str]:
    """What the client's API lists."""
    answer = lab.ask('{project(name: "p") {runs {edges {node {name}}}}}')
    return [edge["node"]["name"] for edge in answer["project"]["runs"]["edges"]]


def test_deleted_runs_are_hidden_everywhere_and_come_back_whole(lab: Lab) -> None:
    for name in "abc":
        make_run(lab, name)
    assert change(lab, "delete", "a,b")["done"].startswith("2 runs deleted")
    assert names(lab) == listed(lab) == ["c"]
    assert data(lab, "/local/p/data")["deleted"] == ["b", "a"]
    see(lab, "/local/p/runs/a", 404)
    lab.now += UNDO_S - 1
    _tidy(lab.services)
    assert change(lab, "restore", "a,b")["done"] == "2 runs brought back."
    assert sorted(names(lab)) == ["a", "b", "c"]
    assert data(lab, "/local/p/runs/a/data")["history"]["odd"]["y"] == [1, 2]


def test_after_its_time_a_deleted_run_is_gone_for_good(lab: Lab) -> None:
    make_run(lab, "a")
    change(lab, "delete", "a")
    lab.now += UNDO_S + 1
    _tidy(lab.services)
    with lab.services.database.read() as connection:
        assert list_bin(connection) == []
        assert connection.execute("SELECT count(*) FROM run").fetchone()[0] == 0
    assert change(lab, "restore", "a")["status"] == 404


def test_a_run_that_goes_on_is_not_deleted_and_one_that_resumes_leaves_the_bin(lab: Lab) -> None:
    lab.init("live")
    answer = change(lab, "delete", "live")
    assert (answer["status"], "stop it first" in answer["error"]) == (409, True)
    make_run(lab, "a")
    change(lab, "delete", "a")
    lab.init("a", host="node1", program="train.py")
    assert "a" in names(lab)
    lab.now += UNDO_S + 1
    lab.log("a", 3, [{"_step": 3, "odd": 3}])
    _tidy(lab.services)
    assert "a" in names(lab)


def test_stopping_reaches_the_client_and_ended_runs_are_not_stopped(lab: Lab) -> None:
    lab.init("live")
    make_run(lab, "done")
    assert change(lab, "stop", "live,done")["done"].startswith("1 run asked to stop")
    assert lab.post("live", {"files": {}})["stopped"] is True
    assert change(lab, "stop", "done")["status"] == 409


def test_tags_are_added_once_and_within_their_limits(lab: Lab) -> None:
    make_run(lab, "a")
    for _ in range(2):
        assert change(lab, "tag", "a", tag="good")["done"] == "1 run tagged good."
    assert lab.run("a", "tags")["tags"] == ["good"]
    assert change(lab, "tag", "a", tag="x, y")["status"] == 400
    assert "at most 64" in change(lab, "tag", "a", tag="x" * 65)["error"]


@pytest.mark.parametrize(
    ("action", "runs", "words"),
    [
        ("burn", "a", "use one of stop, delete"),
        ("delete", "", "no runs are selected"),
        ("delete", "a,nothing", "'nothing' is not in this project"),
    ],
)
def test_what_cannot_be_done_says_why(lab: Lab, action: str, runs: str, words: str) -> None:
    make_run(lab, "a")
    assert words in change(lab, action, runs)["error"]
    assert names(lab) == ["a"]


def test_name_notes_and_tags_are_described_by_a_plain_form(lab: Lab) -> None:
    make_run(lab, "a")
    log_in(lab)
    path = "/local/p/runs/a"
    form = {
        "token": token_in(lab.http.get(path).text),
        "name": "new",
        "notes": "a\r\nb",
        "tags": "x, y,x",
    }
    answer = lab.http.post(f"{path}/describe", data=form, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    found = lab.run("a", "displayName notes tags")
    assert (found["displayName"], found["notes"], found["tags"]) == ("new", "a\nb", ["x", "y"])
    emptied = {**form, "name": "", "notes": "", "tags": ""}
    lab.http.post(f"{path}/describe", data=emptied)
    found = lab.run("a", "displayName notes tags")
    assert (found["displayName"], found["notes"], found["tags"]) == ("new", "", [])


def test_forms_of_another_session_or_without_any_change_nothing(lab: Lab) -> None:
    make_run(lab, "a")
    form = {"action": "delete", "runs": "a"}
    assert lab.http.post("/local/p/change", data=form).status_code == 401
    log_in(lab)
    assert lab.http.post("/local/p/change", data=form).status_code == 403
    assert lab.http.post("/local/p/runs/a/describe", data={"name": "x"}).status_code == 403
    assert names(lab) == ["a"]


def test_a_comparison_names_what_differs_first_and_refuses_less_than_two_runs(lab: Lab) -> None:
    make_run(lab, "a", learning_rate=0.1, dataset="nq")
    make_run(lab, "b", learning_rate=0.2, dataset="nq")
    text = see(lab, "/local/p/compare?runs=a,b")
    assert text.index("learning_rate") < text.index("alike</summary>") < text.index(">dataset<")
    assert "+0.1 (+100.0 %)" in text
    assert "logged no predictions" in text
    for wrong in ("", "a", "a,a", "a,nothing"):
        assert "choose two to four" in see(lab, f"/local/p/compare?runs={wrong}", 404)


def test_a_point_whose_run_was_deleted_says_so_until_the_run_is_back(lab: Lab) -> None:
    sweep = lab.make_sweep()
    name = lab.claim(lab.make_agent(sweep))
    lab.init(name, sweep=sweep["name"])
    lab.finish(name)
    path = f"/local/p/sweeps/{sweep['name']}/data"
    change(lab, "delete", name)
    shown = data(lab, path)
    states = next(column for column in shown["columns"] if column["key"] == "state")["values"]
    assert (states[0], shown["ids"][0], shown["deleted"]) == ("deleted", "", [name])
    change(lab, "restore", name)
    assert data(lab, path)["ids"][0] == name


def test_importance_needs_runs_that_differ_and_names_what_decides(lab: Lab) -> None:
    sweep = lab.make_sweep(
        json.dumps(
            {
                "method": "grid",
                "metric": {"name": "loss", "goal": "minimize"},
                "parameters": {"lr": {"values": [1, 2, 3, 4]}, "kind": {"values": ["x", "y"]}},
            }
        )
    )
    path = f"/local/p/sweeps/{sweep['name']}/importance"
    assert "at least 4 runs" in data(lab, path)["problem"]
    agent = lab.make_agent(sweep)
    for _ in range(8):
        name = lab.claim(agent)
        with lab.services.database.read() as connection:
            query = "SELECT config FROM point WHERE run_name = ?"
            point = json.loads(connection.execute(query, (name,)).fetchone()[0])
        config = json.dumps({key: {"value": value} for key, value in point.items()})
        lab.init(name, sweep=sweep["name"], config=config)
        lab.summarize(name, {"loss": point["lr"]})
        lab.finish(name)
    found = data(lab, path)["parameters"]
    assert [one["key"] for one in found] == ["lr", "kind"]
    assert found[0]["importance"] > 0.9
