"""What one key's heavy or hostile requests must not do to the others."""

import asyncio
import json
import sqlite3
import threading
from typing import Any

import pytest

from agent.server.graphql import run_fields
from agent.server.graphql.execution import MAX_LIST
from agent.server.http.filestream import SLICE_LINES, read_part, slices_of
from agent.server.lanes import Lane
from agent.server.refusals import Refused
from agent.server.store import large_json, points, runs, sampling
from agent.server.store.budget import Budget
from agent.server.store.database import Turns
from agent.server.store.runs import LEFT_OUT, MAX_SUMMARY
from agent.server.store.sampling import MAX_KEYS
from tests.server.server_lab import KEY, OTHER_KEY, OWN, Lab, mutation

SAMPLES = (
    "mutation M($i: UpsertBucketInput!, $s: [JSONString!]!) "
    "{upsertBucket(input: $i) {bucket {sampledHistory(specs: $s)}}}"
)


def get(lab: Lab, path: str, key: str = KEY) -> Any:
    return lab.http.get(path, auth=("api", key))


def test_the_answer_of_a_mutation_is_built_while_others_write(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.init("r")
    lab.log("r", 0, [{"_step": i, "loss": i} for i in range(10)])
    held = []
    real = sampling.select_rows

    def look(*arguments: Any) -> Any:
        held.append(lab.services.database._turn.locked())
        return real(*arguments)

    monkeypatch.setattr(run_fields, "select_rows", look)
    spec = json.dumps({"keys": ["loss"], "samples": 5})
    answer = lab.ask(SAMPLES, i={"name": "r", "modelName": "p", "notes": "n"}, s=[spec] * 3)
    assert [len(rows) for rows in answer["upsertBucket"]["bucket"]["sampledHistory"]] == [5, 5, 5]
    assert held == [False] * 3
    assert lab.run("r", "notes")["notes"] == "n"


def test_fragments_at_the_root_of_a_mutation_are_run_once(lab: Lab) -> None:
    lab.init("r")
    document = (
        "mutation M($i: UpsertBucketInput!) {...F ... on Mutation {b: upsertBucket(input: $i) "
        "{inserted}}} fragment F on Mutation {upsertBucket(input: $i) {inserted bucket {name}}}"
    )
    answer = lab.ask(document, i={"name": "new", "modelName": "p"})
    assert answer["upsertBucket"] == {"inserted": True, "bucket": {"name": "new"}}
    assert answer["b"] == {"inserted": False}


def test_a_failed_mutation_leaves_nothing_and_a_failed_answer_does_not_undo_it(lab: Lab) -> None:
    lab.init("r")
    both = (
        "mutation M($i: UpsertBucketInput!) {a: upsertBucket(input: $i) {inserted} "
        'stopRun(input: {id: "nothing"}) {success}}'
    )
    assert "no such run" in lab.refused(both, i={"name": "r", "modelName": "p", "notes": "lost"})
    assert lab.run("r", "notes")["notes"] is None
    words = lab.refused(SAMPLES, i={"name": "r", "modelName": "p", "notes": "kept"}, s=["1e999x"])
    assert "sampledHistory" in words
    assert lab.run("r", "notes")["notes"] == "kept"


def test_a_request_that_reads_too_much_is_refused_with_the_way_out(lab: Lab) -> None:
    budget = Budget(rows=100, size=10)
    budget.spend(rows=100, size=10)
    for more in ({"rows": 1}, {"size": 1}):
        with pytest.raises(Refused, match="ask for fewer runs, keys or samples"):
            Budget(rows=0, size=0).spend(**more)
    late = iter([0.0, 21.0])
    with pytest.raises(Refused, match="more than 20 s"):
        Budget(clock=lambda: next(late)).check()
    lab.init("r")
    lab.log("r", 0, [{"_step": i} for i in range(1000)])
    specs = [json.dumps({"keys": ["_step"]})] * 6000
    query = (
        "query Q($s: [JSONString!]!) "
        '{project(name: "p") {run(name: "r") {sampledHistory(specs: $s)}}}'
    )
    assert "rows" in lab.refused(query, s=specs)


def test_a_query_past_its_time_is_broken_off_inside_sqlite(lab: Lab) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with (
        pytest.raises(Refused, match=r"more than 0\.05 s"),
        lab.services.database.read(Budget(seconds=0.05)) as connection,
    ):
        connection.execute(endless).fetchone()
    with lab.services.database.read() as connection:
        assert connection.execute("SELECT 1").fetchone()[0] == 1


def test_a_transaction_left_open_outside_stops_no_page_and_changes_say_why(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.init("r")
    monkeypatch.setattr("agent.server.store.database.BUSY_S", 0.05)
    lab.services.database._set_patience(0.05)
    outside = sqlite3.connect(lab.services.database.path, isolation_level=None)
    outside.execute("BEGIN IMMEDIATE")
    stream = "/files/local/p/r/file_stream"
    for _ in range(2):
        response = lab.http.post(stream, json={}, auth=("api", KEY))
        assert response.status_code == 503
        assert "end its transaction" in response.json()["error"]
        assert get(lab, "/local/p").status_code == 200
    outside.execute("ROLLBACK")
    outside.close()
    assert lab.http.post(stream, json={}, auth=("api", KEY)).status_code == 200


def test_a_large_part_is_written_in_slices_and_repeats_change_nothing(lab: Lab) -> None:
    lab.init("r")
    lines = [json.dumps({"_step": i, "x": "y" * 20}) for i in range(2 * SLICE_LINES + 5)]
    body = {
        "files": {"wandb-history.jsonl": {"offset": 0, "content": lines}},
        "complete": True,
        "exitcode": 0,
    }
    slices = list(slices_of(read_part(body)))
    assert [len(piece.lines[0].content) for piece in slices] == [SLICE_LINES, SLICE_LINES, 5]
    assert [piece.is_complete for piece in slices] == [False, False, True]
    for _ in range(2):
        lab.post("r", body)
        assert lab.run("r", "historyLineCount state") | {"id": 0} == {
            "id": 0,
            "historyLineCount": len(lines),
            "state": "finished",
        }


def test_long_json_is_read_and_written_as_short_json_is() -> None:
    value: dict[str, Any] = {
        "a": [1, 2.5, None, True, "é\n", {}, []],
        "n": {"k": "v" * large_json.SHORT},
    }
    text = json.dumps(value)
    assert large_json.loads(text) == value
    assert json.loads(large_json.dumps(value, len(text))) == value
    for broken in ("{" + " " * large_json.SHORT, text + "x", text[:-1]):
        with pytest.raises(ValueError, match=r"."):
            large_json.loads(broken)


def test_a_run_with_very_many_keys_has_bounded_pages(lab: Lab) -> None:
    lab.init("r")
    values = {f"key{i}": i for i in range(50_000)} | {"final/f1": 0.5}
    content = json.dumps(values)
    assert len(content) < MAX_SUMMARY
    lab.post("r", {"files": {"wandb-summary.json": {"offset": 0, "content": [content]}}})
    lab.log("r", 0, [{"_step": 0, **{f"m{i}": i for i in range(5_000)}}])
    for path in ("/local/p", "/local/p/runs/r", "/local/p/data", "/local/p/runs/r/data"):
        response = get(lab, path)
        assert response.status_code == 200
        assert len(response.content) < 2_000_000, path
    assert "final/f1" in get(lab, "/local/p/runs/r").text
    assert "more keys are in" in get(lab, "/local/p/runs/r").text
    assert len(json.loads(lab.run("r", "summaryMetrics")["summaryMetrics"])) == len(values)


def test_a_summary_too_large_for_its_row_keeps_what_fits_and_says_so(lab: Lab) -> None:
    lab.init("r")
    values = {f"a-rather-long-name-of-a-key-{i}": i for i in range(MAX_SUMMARY // 20)}
    values |= {"_runtime": 5}
    content = json.dumps(values)
    lab.post("r", {"files": {"wandb-summary.json": {"offset": 0, "content": [content]}}})
    kept = json.loads(lab.run("r", "summaryMetrics")["summaryMetrics"])
    assert kept["_runtime"] == 5
    assert MAX_KEYS < len(kept) < len(values)
    assert kept[LEFT_OUT] == len(values) - (len(kept) - 1)
    assert get(lab, "/local/p/runs/r").status_code == 200


def test_long_requests_of_one_entity_leave_threads_to_the_others(lab: Lab) -> None:
    """Two of six threads are the most that one entity's pages and long queries get."""
    lane = Lane(threads=3, per_caller=2)
    free = threading.Event()

    async def go() -> None:
        greedy = [asyncio.create_task(lane.run("greedy", free.wait, 30)) for _ in range(20)]
        assert await asyncio.wait_for(lane.run("honest", lambda: "done"), 10) == "done"
        free.set()
        assert all(await asyncio.gather(*greedy))
        with pytest.raises(Refused, match="too many long requests"):
            await asyncio.gather(*(lane.run("greedy", free.wait, 1) for _ in range(200)))

    asyncio.run(go())
    lane.close()
    assert get(lab, "/others/p", OTHER_KEY).status_code in (200, 404)


def test_turns_are_taken_in_the_order_of_asking() -> None:
    turns, order = Turns(), list[int]()

    def ask(number: int) -> None:
        with turns:
            order.append(number)

    with turns:
        threads = []
        for number in range(20):
            threads.append(threading.Thread(target=ask, args=(number,)))
            threads[-1].start()
            while len(turns._waiting) <= number:
                pass
        assert turns.locked()
    for thread in threads:
        thread.join()
    assert order == list(range(20))
    assert not turns.locked()


def test_the_log_of_the_database_is_moved_beside_a_change_that_is_under_way(lab: Lab) -> None:
    lab.init("r")
    database = lab.services.database
    before = database.path.read_bytes()
    with database.write() as connection:
        connection.execute("UPDATE run SET notes = 'under way'")
        database.move_log()
    assert database.path.read_bytes() != before
    assert lab.run("r", "notes")["notes"] == "under way"


def test_what_takes_long_is_done_before_the_database_is_held(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: dict[str, list[bool]] = {}

    def watch(module: Any, name: str) -> None:
        real = getattr(module, name)

        def look(*arguments: Any, **named: Any) -> Any:
            held.setdefault(name, []).append(lab.services.database._turn.locked())
            return real(*arguments, **named)

        monkeypatch.setattr(module, name, look)

    watch(runs, "_write_summary")
    watch(runs, "_write_object")
    watch(points, "bayes_point")
    long = json.dumps({f"key{n}": n for n in range(large_json.SHORT // 8)})
    lab.init("r", config=long, summaryMetrics=long)
    assert json.loads(lab.run("r", "summaryMetrics")["summaryMetrics"]) == json.loads(long)
    sweep = lab.make_sweep(
        "{method: bayes, metric: {name: loss}, parameters: {x: {min: 0.0, max: 1.0}}}"
    )
    assert lab.claim(lab.make_agent(sweep))
    assert held == {"_write_object": [False], "_write_summary": [False], "bayes_point": [False]}
    broken = long[:-1]
    assert "this is not JSON" in lab.refused(SAMPLES, i={"name": "r", "config": broken}, s=[])
    assert held["_write_object"] == [False, False]


def test_lists_and_states_past_any_use_are_refused_at_once(lab: Lab) -> None:
    lab.init("r")
    files = {**OWN, "runName": "r"}
    document = mutation("createRunFiles", "files {uploadUrl}")
    names = [f"f{n}" for n in range(MAX_LIST + 1)]
    assert "send it in parts" in lab.refused(document, i=files | {"files": names})
    assert "ask in parts" in lab.refused(document, i=files | {"files": names[:-1]})
    upsert = mutation("upsertBucket", "inserted")
    tagged = {"name": "r", "modelName": "p", "tags": names[:1001]}
    assert "tags: more than 1000" in lab.refused(upsert, i=tagged)
    agent = lab.make_agent(lab.make_sweep())
    beat = "mutation M($i: AgentHeartbeatInput!) {agentHeartbeat(input: $i) {commands}}"
    state = json.dumps(dict.fromkeys(names, True))
    assert "runState: longer than" in lab.refused(beat, i={"id": agent, "runState": state})
