"""GraphQL as released clients send it: loosely declared, sometimes unknown."""

import json
from typing import Any

from tests.server.server_lab import KEY, Lab, mutation


def test_undeclared_and_unused_variables_and_a_missing_operation_name_are_tolerated(
    lab: Lab,
) -> None:
    lab.ask("query Q($unused: String) {viewer {entity}}", other=1)
    lab.ask("query A {viewer {id}} query B {viewer {id}}")
    lab.ask("query Q($p: String) {project(name: $p) {runs(filters: $filters) {edges {cursor}}}}")


def test_an_unknown_operation_is_named_in_the_error(lab: Lab) -> None:
    message = lab.refused("mutation LaunchTheMoon {launchMoon {id}}")
    assert "launchMoon" in message
    assert "LaunchTheMoon" in message


def test_an_unknown_input_field_is_ignored(lab: Lab) -> None:
    assert lab.init("r", fieldOfTheFuture=None)["inserted"] is True


def test_a_failed_mutation_leaves_nothing_behind(lab: Lab) -> None:
    lab.refused(
        "mutation M($a: UpsertBucketInput!, $b: UpsertBucketInput!) "
        "{a: upsertBucket(input: $a) {inserted} b: upsertBucket(input: $b) {inserted}}",
        a={"name": "good", "modelName": "p"},
        b={"name": "bad", "modelName": "p", "config": "not json"},
    )
    found = lab.ask('{project(name: "p") {runCount}}')
    assert found["project"] is None


def test_introspection_answers_older_clients(lab: Lab) -> None:
    found = lab.ask('{__type(name: "CreateArtifactInput") {inputFields {name}}}')
    assert {"name": "historyStep"} in found["__type"]["inputFields"]


def test_a_deeply_nested_document_is_refused(lab: Lab) -> None:
    deep = "{viewer" * 50 + "}" * 50
    assert "nested" in lab.refused(deep)


def test_a_bad_sweep_names_every_violation(lab: Lab) -> None:
    config = "method: gird\nmetric: 3\nparameters: {x: {min: 2, max: 1}, y: {}}\nrun_cap: 0"
    given = {"config": config, "projectName": "p"}
    message = lab.refused(mutation("upsertSweep", "sweep {id}"), i=given)
    for part in ("gird", "metric", "parameters.x", "parameters.y", "run_cap"):
        assert part in message
    good = config.replace("gird", "random").replace("metric: 3\n", "").replace("min: 2", "min: 0")
    lab.make_sweep(good.replace("y: {}", "y: {value: 1}").replace("run_cap: 0", "run_cap: 1"))


def test_a_heartbeat_of_an_unknown_agent_is_answered_404(lab: Lab) -> None:
    query = 'mutation {agentHeartbeat(input: {id: "QWdlbnQ6OTk="}) {commands}}'
    response = lab.http.post("/graphql", json={"query": query}, auth=("api", KEY))
    assert response.status_code == 404
    agent = lab.make_agent(lab.make_sweep())
    query = f'mutation {{agentHeartbeat(input: {{id: "{agent}"}}) {{commands}}}}'
    response = lab.http.post("/graphql", json={"query": query}, auth=("api", KEY))
    assert response.status_code == 200


def test_filters_and_orders_find_runs(lab: Lab) -> None:
    for number, loss in enumerate((0.5, 0.1, None)):
        lab.init(
            f"r{number}",
            config=json.dumps({"lr": {"value": number}, "a": {"value": {"b": number}}}),
            tags=["odd"] if number == 1 else [],
            summaryMetrics=json.dumps({} if loss is None else {"val/loss": loss, "x.y": {"z": 1}}),
        )

    def names(filters: object = None, order: str | None = None) -> list[str]:
        found = lab.ask(
            'query Q($f: JSONString, $o: String) {project(name: "p") '
            "{runs(filters: $f, order: $o) {edges {node {name}}}}}",
            f=json.dumps(filters),
            o=order,
        )
        return [edge["node"]["name"] for edge in found["project"]["runs"]["edges"]]

    assert names() == ["r0", "r1", "r2"]
    assert names(order="-created_at") == ["r2", "r1", "r0"] or len(names()) == 3
    assert names(order="+summary_metrics.val/loss") == ["r1", "r0", "r2"]
    assert names(order="-summary_metrics.val/loss") == ["r0", "r1", "r2"]
    assert names({"config.lr.value": {"$gte": 1}}) == ["r1", "r2"]
    assert names({"config.a.b": 2}) == ["r2"]
    assert names({"$or": [{"tags": "odd"}, {"config.lr": 0}]}) == ["r0", "r1"]
    assert names({"$and": [{"state": "running"}, {"name": {"$in": ["r0", "r2"]}}]}) == ["r0", "r2"]
    assert names({"summary_metrics.val/loss": {"$exists": False}}) == ["r2"]
    assert names({"display_name": {"$regex": "^run-[12]$"}}) == ["r0", "r1"]
    assert names({"created_at": {"$gt": "2030-01-01T00:00:00Z"}}) == []
    assert names({"summary_metrics.x.y.z": 1}) == []
    assert names({"name": {"$ne": "r0"}}) == ["r1", "r2"]


def test_pages_of_runs_cover_all_of_them_once(lab: Lab) -> None:
    for number in range(7):
        lab.init(f"r{number}")
    seen: list[str] = []
    cursor = None
    found: dict[str, Any] = {}
    for _ in range(4):
        found = lab.ask(
            'query Q($c: String) {project(name: "p") {runs(after: $c, first: 2) '
            "{edges {node {name}} pageInfo {endCursor hasNextPage}}}}",
            c=cursor,
        )["project"]["runs"]
        seen += [edge["node"]["name"] for edge in found["edges"]]
        cursor = found["pageInfo"]["endCursor"]
    assert seen == [f"r{number}" for number in range(7)]
    assert found["pageInfo"]["hasNextPage"] is False
