"""Values that clients send: whatever they are, they are stored, or refused with words."""

import json
import socket
from typing import Any

import pytest

from agent.server.refusals import Refused
from agent.server.serving import Listening, bind
from agent.server.store.filtering.matching import in_order, matches
from agent.server.store.filtering.patterns import compile_pattern, is_match
from tests.server.server_lab import KEY, Lab

RUNS = 'query Q($f: JSONString) {project(name: "p") {runs(filters: $f) {edges {node {name}}}}}'


@pytest.mark.parametrize("pattern", ["^run-[12]$", "^a.*b$", r"\d+-\w+", "(train|val)/.*", "(ab)+"])
def test_ordinary_patterns_are_taken(pattern: str) -> None:
    compile_pattern(pattern)
    assert not is_match(pattern, "x" * 10_000)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a|a)*b",
        "(a?a)+b",
        "a*a*a*b",
        "a?" * 30 + "a" * 30,
        "(a|a)" * 40,
        r"(a)\1",
        "(?=a)a",
        "(",
        "a" * 300,
    ],
)
def test_patterns_that_could_hang_the_server_are_refused(pattern: str) -> None:
    with pytest.raises(Refused, match="filters"):
        is_match(pattern, "aaa")


def test_filters_and_orders_of_things_at_hand() -> None:
    items: list[dict[str, Any]] = [
        {"id": 1, "name": "a", "tags": ["x"], "size": 3},
        {"id": 2, "name": "b", "tags": [], "size": None},
        {"id": 3, "name": "c", "tags": ["x", "y"], "size": 1},
    ]

    def found(tree: dict[str, Any]) -> list[int]:
        return [item["id"] for item in items if matches(tree, item)]

    assert found({"name": "a"}) == [1]
    assert found({"$or": [{"name": "a"}, {"tags": "y"}]}) == [1, 3]
    assert found({"$not": {"name": {"$in": ["a", "b"]}}}) == [3]
    assert found({"size": {"$gte": 1, "$lt": 3}}) == [3]
    assert found({"size": {"$exists": False}}) == [2]
    assert found({"tags": {"$ne": "x"}}) == [2]
    assert found({"name": {"$regex": "^[bc]$"}}) == [2, 3]
    for order, ids in (("-id", [3, 2, 1]), ("+size", [2, 3, 1]), ("-size", [1, 3, 2])):
        assert [i["id"] for i in in_order(items, order, lambda item: item, "+id")] == ids
    with pytest.raises(Refused, match="unknown field 'colour'; known: id, name, size, tags"):
        found({"colour": 1})
    with pytest.raises(Refused, match=r"'\$mod' is not supported"):
        found({"size": {"$mod": 2}})


def test_what_json_lacks_never_fails_an_answer(lab: Lab) -> None:
    lab.init("r")
    part = ['{"_step": 0, "up": Infinity, "deep": {"list": [NaN, 1]}}', "no row", "[1]"]
    lab.post("r", {"files": {"wandb-history.jsonl": {"offset": 0, "content": part}}})
    found = lab.run("r", 'historyKeys sampledHistory(specs: ["{}"])')
    assert found["historyKeys"]["keys"]["up"]["previousValue"] == "Infinity"
    response = lab.http.post(
        "/graphql",
        auth=("api", KEY),
        json={"query": '{project(name: "p") {run(name: "r") {sampledHistory(specs: ["{}"])}}}'},
    )
    (rows,) = response.json()["data"]["project"]["run"]["sampledHistory"]
    assert rows == [{"_step": 0, "up": "Infinity", "deep": {"list": ["NaN", 1]}}]


def test_numbers_out_of_range_are_kept_within_it(lab: Lab) -> None:
    lab.init("r")
    lab.log("r", 0, [{"_step": 1e300, "x": 1}, {"_step": 10**30, "x": 2}, {"_step": {}, "x": 3}])
    assert lab.run("r", "historyLineCount")["historyLineCount"] == 3
    lab.finish("r", 10**30)
    assert lab.run("r", "exitcode state")["exitcode"] == 2**31 - 1
    for tree in ({"config.x": 10**40}, {"tags": [{"a": 1}]}, {"created_at": [1]}):
        assert lab.ask(RUNS, f=json.dumps(tree))["project"]["runs"]["edges"] == []


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"name": "r"}, "expected text"),
        (json.dumps({"$or": [{"name": "x"}] * 5000}), "more than 300 conditions"),
        (json.dumps({"config.a\0b": 1}), "control characters"),
        (json.dumps({'config.a"b': 1}), "quotes"),
        (json.dumps({"a": {"$exists": 1}}), "unknown field 'a'"),
    ],
)
def test_filters_that_are_none_are_refused_with_words(lab: Lab, tree: Any, words: str) -> None:
    lab.init("r")
    assert words in lab.refused(RUNS, f=tree)


def test_half_characters_and_summaries_that_are_none_are_dealt_with(lab: Lab) -> None:
    lab.init("r")
    body = b'{"files": {"output.log": {"offset": 0, "content": ["a\\ud800b"]}}}'
    stream = "/files/local/p/r/file_stream"
    assert lab.http.post(stream, content=body, auth=("api", KEY)).status_code == 200
    (line,) = lab.run("r", "logLines {edges {node {line}}}")["logLines"]["edges"]
    assert line["node"]["line"] == "a\ufffdb"
    part = {"files": {"wandb-summary.json": {"offset": 0, "content": ["[1]"]}}}
    assert lab.http.post(stream, json=part, auth=("api", KEY)).status_code == 400
    assert lab.run("r", "summaryMetrics")["summaryMetrics"] == "{}"


def test_costly_documents_and_sweeps_are_refused_by_their_length(lab: Lab) -> None:
    assert "brackets" in lab.refused(
        "{" + " ".join(f"a{i}: viewer {{id}}" for i in range(500)) + "}"
    )
    assert "at the root" in lab.refused(
        "{" + " ".join(f"a{i}: viewer {{id}}" for i in range(30)) + "}"
    )
    sweep = "mutation M($i: UpsertSweepInput!) {upsertSweep(input: $i) {sweep {id}}}"
    long = "method: grid\nparameters:\n" + "".join(f"  p{i}: {{value: 1}}\n" for i in range(5000))
    assert "entries" in lab.refused(sweep, i={"projectName": "p", "config": long})
    many = "method: grid\nparameters:\n" + "".join(f"  p{i}: {{value: 1}}\n" for i in range(600))
    assert "more than 500" in lab.refused(sweep, i={"projectName": "p", "config": many})
    itself = "method: grid\nparameters: &a {x: *a}"
    assert "aliases" in lab.refused(sweep, i={"projectName": "p", "config": itself})
    levels = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]\n" for i in range(1, 9))
    bomb = f"x0: &x0 [1]\n{levels}method: grid"
    assert "entries" in lab.refused(sweep, i={"projectName": "p", "config": bomb})


def test_answers_do_not_wait_for_the_acknowledgement_of_earlier_ones() -> None:
    with bind(Listening(port=0), None) as bound:
        assert bound.proto == socket.IPPROTO_TCP  # asyncio then sets TCP_NODELAY on connections
