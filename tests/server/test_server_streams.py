"""The file stream: parts by offset, retries, restarts of a run, final states."""

import json

from tests.server.server_lab import KEY, Lab


def test_a_part_that_arrives_twice_changes_nothing(lab: Lab) -> None:
    lab.init("r")
    rows = [{"_step": i, "loss": i} for i in range(4)]
    lab.log("r", 0, rows[:3])
    lab.log("r", 0, rows[:3])
    lab.log("r", 2, rows[2:])
    found = lab.run("r", "historyLineCount history historyKeys")
    assert found["historyLineCount"] == 4
    assert [json.loads(line)["_step"] for line in found["history"]] == [0, 1, 2, 3]
    assert found["historyKeys"]["lastStep"] == 3
    assert found["historyKeys"]["keys"]["loss"]["previousValue"] == 3


def test_a_run_that_is_opened_again_keeps_its_lines(lab: Lab) -> None:
    first = lab.init("r")
    lab.log("r", 0, [{"_step": 0}, {"_step": 1}])
    for identifier in (first["bucket"]["id"], None):  # resumed, or the next part of a sync
        lab.finish("r")
        again = lab.init("r", id=identifier)
        assert again["bucket"]["historyLineCount"] == 2
        assert lab.run("r")["state"] == "running"


def test_a_point_handed_out_again_keeps_its_lines_only_if_it_resumes(lab: Lab) -> None:
    agent = lab.make_agent(lab.make_sweep())
    run = lab.claim(agent)
    made = lab.init(run)
    for identifier, lines in ((made["bucket"]["id"], 2), (None, 0)):
        lab.log(run, 0, [{"_step": 0}, {"_step": 1}])
        lab.post(run, {"preempting": True})
        lab.finish(run, exit_code=1)
        assert lab.claim(agent) == run
        again = lab.init(run, id=identifier)
        assert again["bucket"]["historyLineCount"] == lines


def test_history_pages_exclude_their_end_and_samples_include_it(lab: Lab) -> None:
    lab.init("r")
    lab.log("r", 0, [{"_step": i, "loss": i, "deep": {"x": i}} for i in range(10)])
    page = lab.run("r", "history(minStep: 2, maxStep: 5, samples: 1)")["history"]
    assert [json.loads(line)["_step"] for line in page] == [2, 3, 4]
    spec = json.dumps(json.dumps({"keys": ["_step", "deep.x"], "minStep": 2, "maxStep": 5}))
    (sampled,) = lab.run("r", f"sampledHistory(specs: [{spec}])")["sampledHistory"]
    assert [row["deep.x"] for row in sampled] == [2, 3, 4, 5]
    assert len(lab.run("r", "history(samples: 4)")["history"]) == 4


def test_values_that_json_lacks_survive(lab: Lab) -> None:
    lab.init("r")
    part = {
        "wandb-history.jsonl": {"offset": 0, "content": ['{"_step": 0, "loss": NaN}']},
        "wandb-summary.json": {"offset": 0, "content": ['{"loss": NaN, "top": Infinity}']},
    }
    lab.post("r", {"files": part})
    found = lab.run("r", "summaryMetrics historyKeys history")
    assert json.loads(found["summaryMetrics"]) == {"loss": "NaN", "top": "Infinity"}
    assert found["historyKeys"]["keys"]["loss"]["previousValue"] == "NaN"
    assert lab.http.get("/ready").status_code == 200


def test_console_lines_and_events_are_read_back(lab: Lab) -> None:
    lab.init("r")
    lines = [f"ERROR 2026-01-01T00:00:0{i}.000000 oops {i}\n" for i in range(3)]
    part = {
        "output.log": {"offset": 0, "content": [*lines, "plain text\n"]},
        "wandb-events.jsonl": {"offset": 0, "content": ['{"system.cpu": 12.5}']},
    }
    lab.post("r", {"files": part})
    found = lab.run(
        "r",
        "logLineCount systemMetrics events logLines(first: 2) {edges {node {number level line}}"
        " pageInfo {endCursor hasNextPage}}",
    )
    assert found["logLineCount"] == 4
    node = found["logLines"]["edges"][1]["node"]
    assert node == {"number": 1, "level": "error", "line": "oops 1"}
    assert found["logLines"]["pageInfo"] == {"endCursor": "2", "hasNextPage": True}
    assert json.loads(found["systemMetrics"]) == {"system.cpu": 12.5}
    (last,) = lab.run("r", "logLines(last: 1) {edges {node {line}}}")["logLines"]["edges"]
    assert last["node"]["line"] == "plain text"


def test_exit_codes_decide_the_final_state(lab: Lab) -> None:
    for name, code, state in (("a", 0, "finished"), ("b", 3, "failed")):
        lab.init(name)
        lab.finish(name, code)
        assert lab.run(name, "state exitcode") == {
            "id": lab.run(name)["id"],
            "state": state,
            "exitcode": code,
        }


def test_a_crashed_run_that_speaks_again_runs(lab: Lab) -> None:
    lab.init("r")
    with lab.services.database.write() as connection:
        connection.execute("UPDATE run SET state = 'crashed'")
    lab.post("r", {})
    assert lab.run("r")["state"] == "running"


def test_a_stopped_run_without_an_agent_learns_it_from_the_stream(lab: Lab) -> None:
    lab.init("r")
    assert lab.post("r", {}) == {}
    lab.change("stopRun", "success", id=lab.run("r")["id"])
    assert lab.post("r", {}) == {"stopped": True}


def test_a_malformed_part_is_refused_and_the_next_good_one_is_kept(lab: Lab) -> None:
    lab.init("r")
    bad = [
        {"files": []},
        {"files": {"output.log": {"offset": -1, "content": []}}},
        {"files": {"output.log": {"offset": 0, "content": [1]}}},
    ]
    for part in bad:
        response = lab.http.post("/files/local/p/r/file_stream", json=part, auth=("api", KEY))
        assert response.status_code == 400
    lab.post("r", {"files": {"output.log": {"offset": 0, "content": ["good"]}}})
    assert lab.run("r", "logLineCount")["logLineCount"] == 1
    response = lab.http.post("/files/local/p/nobody/file_stream", json={}, auth=("api", KEY))
    assert response.status_code == 404


def test_processes_that_share_a_run_lose_no_line_and_repeat_none(lab: Lab) -> None:
    lab.init("r")

    def send(writer: str, offset: int, rows: list[dict[str, int]]) -> None:
        part = {
            "wandb-history.jsonl": {"offset": offset, "content": [json.dumps(r) for r in rows]},
            "wandb-summary.json": {"offset": 0, "content": [json.dumps(rows[-1])]},
        }
        response = lab.http.post(
            "/files/local/p/r/file_stream",
            json={"files": part},
            auth=("api", KEY),
            headers={"X-WANDB-ASYNC-CLIENT-ID": writer},
        )
        assert response.status_code == 200

    send("a", 0, [{"a": 0}, {"a": 1}])
    send("b", 0, [{"b": 0}])
    send("a", 1, [{"a": 1}, {"a": 2}])
    send("b", 0, [{"b": 0}, {"b": 1}])
    found = lab.run("r", "historyLineCount summaryMetrics history")
    assert found["historyLineCount"] == 5
    assert json.loads(found["summaryMetrics"]) == {"a": 2, "b": 1}
    assert [json.loads(line) for line in found["history"]] == [
        {"a": 0, "_step": 0},
        {"a": 1, "_step": 1},
        {"b": 0, "_step": 2},
        {"a": 2, "_step": 3},
        {"b": 1, "_step": 4},
    ]
