"""A key of one entity achieves nothing with the ids and names of another's things."""

import base64
import hashlib
import json
from typing import Any

import graphql
import pytest

from agent.server.graphql.execution import build_schema
from tests.server.server_lab import KEY, OTHER_KEY, OWN, Lab

# What makes something of the caller's own, however it is called: nothing of another's is named.
NEEDS_NO_OWNER = {"upsertModel"}


def fill_store(lab: Lab) -> dict[str, str]:
    """One of everything, and the ids."""
    sweep = lab.make_sweep()
    agent = lab.make_agent(sweep)
    run = lab.init("r")["bucket"]["id"]
    digest = base64.b64encode(hashlib.md5(b"secret").digest()).decode()
    version = {**OWN, "runName": "r", "artifactTypeName": "t", "artifactCollectionName": "data"}
    fields = "artifact {id artifactSequence {id}}"
    made = lab.change("createArtifact", fields, **version, digest="d", clientID="client-1")
    artifact = made["artifact"]["id"]
    given = {"artifactID": artifact, "name": "wandb_manifest.json", "digest": "d", **OWN}
    fields = "artifactManifest {id file {uploadUrl}}"
    manifest = lab.change("createArtifactManifest", fields, **given)["artifactManifest"]
    spec = {"artifactID": artifact, "name": "f", "md5": digest}
    sent = lab.change(
        "createArtifactFiles", "files {edges {node {uploadUrl}}}", artifactFiles=[spec]
    )
    sending = sent["files"]["edges"][0]["node"]["uploadUrl"]
    whole = {"contents": {"f": {"digest": digest, "size": 6}}}
    lab.http.put(sending.split("//127.0.0.1:1")[1], content=b"secret")
    lab.http.put(
        manifest["file"]["uploadUrl"].split("//127.0.0.1:1")[1], content=json.dumps(whole).encode()
    )
    lab.change("commitArtifact", "artifact {id}", artifactID=artifact)
    lab.http.put(lab.upload_path("r", "f.txt"), content=b"secret")
    (file,) = lab.run("r", "files {edges {node {id}}}")["files"]["edges"]
    project = lab.ask('{project(name: "p") {id}}')["project"]["id"]
    return {
        "Run": run,
        "Sweep": sweep["id"],
        "Agent": agent,
        "Artifact": artifact,
        "Collection": made["artifact"]["artifactSequence"]["id"],
        "Manifest": manifest["id"],
        "File": file["node"]["id"],
        "Project": project,
        "sweep name": sweep["name"],
    }


def _id_for(mutation: str, name: str, ids: dict[str, str]) -> str:
    """Which thing an input field of this name means."""
    plain = name.lower()
    for part, kind in (
        ("manifest", "Manifest"),
        ("sequence", "Collection"),
        ("client", "client"),
        ("portfolio", "Collection"),
        ("artifact", "Artifact"),
    ):
        if part in plain:
            return ids.get(kind, "client-1")
    for part, kind in (("agent", "Agent"), ("sweep", "Sweep"), ("model", "Project")):
        if part in mutation.lower():
            return ids[kind]
    return ids["Run"]


def _value(mutation: str, name: str, kind: Any, ids: dict[str, str]) -> Any:
    """A value for one input field that points at the other entity's things."""
    kind = graphql.get_nullable_type(kind)
    if graphql.is_list_type(kind):
        return [_value(mutation, name, kind.of_type, ids)]
    if graphql.is_input_object_type(kind):
        return _inputs(mutation, kind, ids)
    if graphql.is_enum_type(kind):
        return next(iter(kind.values))
    given = {
        "entityName": "local",
        "projectName": "p",
        "modelName": "p",
        "runName": "r",
        "name": "r",
        "artifactCollectionName": "data",
        "artifactTypeName": "t",
        "sweep": ids["sweep name"],
        "metricName": "_step",
        "metricValue": 0,
        "config": "{}",
        "state": "FINISHED",
    }
    if name == "files" and mutation == "deleteFiles":
        return ids["File"]
    if kind.name == "ID" or name in ("id", "artifactID"):
        return _id_for(mutation, name, ids)
    if name in given:
        return given[name]
    return {"String": "x", "JSONString": "{}", "Boolean": True}.get(kind.name, 1)


def _inputs(mutation: str, kind: Any, ids: dict[str, str]) -> dict[str, Any]:
    identifying = (
        "id",
        "entityName",
        "projectName",
        "modelName",
        "runName",
        "name",
        "sweep",
        "clientID",
        "artifactCollectionName",
        "artifactPortfolioID",
    )
    return {
        name: _value(mutation, name, field.type, ids)
        for name, field in kind.fields.items()
        if graphql.is_required_input_field(field) or name in identifying
    }


MUTATION = graphql.assert_object_type(build_schema().mutation_type)
MUTATIONS = sorted(MUTATION.fields)


def test_no_change_reaches_another_entity(lab: Lab) -> None:
    ids = fill_store(lab)
    before = list(lab.services.database._writer.iterdump())
    for name in MUTATIONS:
        kind = MUTATION.fields[name].args["input"].type
        body = {
            "query": f"mutation M($i: {kind}) {{{name}(input: $i) {{__typename}}}}",
            "variables": {"i": _inputs(name, graphql.get_nullable_type(kind), ids)},
        }
        response = lab.http.post("/graphql", json=body, auth=("api", OTHER_KEY))
        problems = response.json().get("errors", [])
        assert problems, (name, body["variables"], response.text)
        assert not any("Variable" in p["message"] for p in problems), (name, problems)
    after = list(lab.services.database._writer.iterdump())
    assert after == before


@pytest.mark.parametrize(
    "question",
    [
        '{project(name: "p", entityName: "local") {id}}',
        '{entity(name: "local") {project(name: "p") {id}}}',
        '{artifact(id: "$Artifact") {id}}',
        '{artifactCollection(id: "$Collection") {id}}',
        '{clientIDMapping(clientID: "client-1") {serverID}}',
        '{projects(entityName: "local") {edges {node {id}}}}',
        '{users(query: "local") {edges {node {id}}}}',
    ],
)
def test_no_question_finds_another_entitys_things(lab: Lab, question: str) -> None:
    ids = fill_store(lab)
    for kind, value in ids.items():
        question = question.replace(f"${kind}", value)
    theirs = lab.http.post("/graphql", json={"query": question}, auth=("api", OTHER_KEY)).json()
    assert "errors" in theirs or not _leaves(theirs["data"]), theirs
    own = lab.http.post("/graphql", json={"query": question}, auth=("api", KEY)).json()
    assert _leaves(own["data"]), own


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [leaf for part in parts for leaf in _leaves(part)]
    return [] if value is None else [value]


def test_no_address_gives_another_entitys_contents_and_a_revoked_key_gives_none(lab: Lab) -> None:
    fill_store(lab)
    digest = hashlib.md5(b"secret").hexdigest()
    addresses = [
        "/files/local/p/r/f.txt",
        f"/artifacts/local/{digest}",
        f"/artifactsV2/default/local/p/data/birth/{digest}/f",
    ]
    for address in addresses:
        assert lab.http.get(address, auth=("api", KEY)).content == b"secret"
        assert lab.http.get(address, auth=("api", OTHER_KEY)).status_code == 404
        elsewhere = address.replace("/local/", "/others/")
        assert lab.http.get(elsewhere, auth=("api", OTHER_KEY)).status_code == 404
        assert lab.http.get(address).status_code == 401
    stream = "/files/local/p/r/file_stream"
    assert lab.http.post(stream, json={}, auth=("api", OTHER_KEY)).status_code == 404
    with lab.services.database.write() as connection:
        connection.execute("UPDATE api_key SET revoked_at = 1 WHERE entity = 'local'")
    for address in addresses:
        assert lab.http.get(address, auth=("api", KEY)).status_code == 401
    assert lab.http.post(stream, json={}, auth=("api", KEY)).status_code == 401
