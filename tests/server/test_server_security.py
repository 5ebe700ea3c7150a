"""Who gets in, what they see, and what hostile requests achieve: nothing."""

import gzip
import json

import pytest
from starlette.testclient import TestClient

from agent.server.admission import MAX_BODY_BYTES, RateLimit
from agent.server.store.tokens import Signer
from tests.server.server_lab import KEY, OTHER_KEY, Lab

VIEWER = {"query": "{viewer {entity}}"}


def test_requests_need_a_key_except_ready(lab: Lab) -> None:
    assert lab.http.get("/ready").status_code == 200
    assert lab.http.post("/graphql", json=VIEWER).status_code == 401
    assert (
        lab.http.post("/graphql", json=VIEWER, auth=("api", "local-" + "z" * 40)).status_code == 401
    )
    assert lab.http.post("/files/local/p/r/file_stream", json={}).status_code == 401
    assert lab.http.get("/files/local/p/r/x").status_code == 401
    assert (
        lab.http.get("/local/p", follow_redirects=False).headers["location"]
        == "/login?next=/local/p"
    )
    good = lab.http.post("/graphql", json=VIEWER, auth=("api", KEY))
    assert good.json() == {"data": {"viewer": {"entity": "local"}}}


def test_each_key_sees_its_own_entity_only(lab: Lab) -> None:
    sweep = lab.make_sweep()
    agent = lab.make_agent(sweep)
    lab.init("r")
    identifier = lab.run("r")["id"]
    found = lab.ask(
        '{project(name: "p", entityName: "local") {id} '
        'models(entityName: "others") {edges {cursor}}}',
        entity="others",
    )
    assert found == {"project": None, "models": {"edges": []}}
    for document in (
        f'mutation {{deleteRun(input: {{id: "{identifier}"}}) {{clientMutationId}}}}',
        f'mutation {{stopRun(input: {{id: "{identifier}"}}) {{success}}}}',
        f'mutation {{upsertBucket(input: {{id: "{identifier}", notes: "x"}}) {{inserted}}}}',
        'mutation {upsertBucket(input: {name: "q", entityName: "local"}) {inserted}}',
        f'mutation {{upsertSweep(input: {{id: "{sweep["id"]}"}}) {{sweep {{id}}}}}}',
        'query {models(entityName: "local") {edges {cursor}}}',
    ):
        assert "no such" in lab.refused(
            document, entity="others"
        ) or "does not exist" in lab.refused(document, entity="others")
    query = f'mutation {{agentHeartbeat(input: {{id: "{agent}"}}) {{commands}}}}'
    answer = lab.http.post("/graphql", json={"query": query}, auth=("api", OTHER_KEY))
    assert answer.status_code == 404
    stream = lab.http.post("/files/local/p/r/file_stream", json={}, auth=("api", OTHER_KEY))
    assert stream.status_code == 404
    assert lab.run("r")["state"] == "running"


def test_foreign_hosts_and_origins_are_refused(lab: Lab) -> None:
    evil = TestClient(lab.app, base_url="http://evil.example")
    assert evil.get("/ready").status_code == 403
    headers = {"Origin": "http://evil.example"}
    answer = lab.http.post("/graphql", json=VIEWER, auth=("api", KEY), headers=headers)
    assert answer.status_code == 403
    headers = {"Origin": "http://127.0.0.1"}
    answer = lab.http.post("/graphql", json=VIEWER, auth=("api", KEY), headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nonsense",
        b"[" * 100_000,
        b'{"query": 3}',
        b'{"query": "{viewer}", "variables": 1}',
    ],
)
def test_bodies_that_are_no_operation_are_refused(lab: Lab, body: bytes) -> None:
    assert lab.http.post("/graphql", content=body, auth=("api", KEY)).status_code == 400
    assert lab.http.post("/graphql", json=VIEWER, auth=("api", KEY)).status_code == 200


def test_bodies_of_sixteen_mebibytes_pass_and_larger_ones_than_the_limit_do_not(lab: Lab) -> None:
    lab.init("r")
    line = "x" * (16 * 2**20)
    lab.post("r", {"files": {"output.log": {"offset": 0, "content": [line]}}})
    too_long = {"content-length": str(MAX_BODY_BYTES + 1)}
    answer = lab.http.post("/graphql", content=b"{}", auth=("api", KEY), headers=too_long)
    assert answer.status_code == 413
    bomb = gzip.compress(b" " * (MAX_BODY_BYTES + 10))
    packed = {"content-encoding": "gzip"}
    answer = lab.http.post("/graphql", content=bomb, auth=("api", KEY), headers=packed)
    assert answer.status_code == 413
    small = gzip.compress(json.dumps(VIEWER).encode())
    answer = lab.http.post("/graphql", content=small, auth=("api", KEY), headers=packed)
    assert answer.status_code == 200


def test_signed_addresses_are_bound_to_one_thing_and_expire(lab: Lab) -> None:
    lab.init("r")
    address = lab.upload_path("r", "a.txt")
    assert lab.http.put(address, content=b"hello").status_code == 200
    (file,) = lab.run("r", "files {edges {node {name directUrl sizeBytes}}}")["files"]["edges"]
    assert (file["node"]["name"], file["node"]["sizeBytes"]) == ("a.txt", 5)
    fetch = file["node"]["directUrl"].replace("http://127.0.0.1:1", "")
    answer = lab.http.get(fetch)
    assert answer.content == b"hello"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert lab.http.put(fetch.rsplit("/", 1)[0], content=b"x").status_code == 403
    assert lab.http.get(address).status_code == 403
    assert lab.http.put(address[:-3] + "abc", content=b"x").status_code == 403
    lab.now += 3601
    assert lab.http.get(fetch).status_code == 403
    lab.now += 24 * 3600
    assert lab.http.put(address, content=b"x").status_code == 403


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", "..\\up", "", "x" * 2000])
def test_file_names_that_lead_elsewhere_are_refused(lab: Lab, name: str) -> None:
    lab.init("r")
    document = "mutation M($i: CreateRunFilesInput!) {createRunFiles(input: $i) {runID}}"
    common = {"entityName": "local", "projectName": "p", "runName": "r"}
    assert "file name" in lab.refused(document, i={**common, "files": [name]})
    lab.ask(document, i={**common, "files": ["media/images/a b.png"]})


def test_paths_of_requests_stay_inside(lab: Lab) -> None:
    for path in (
        "/files/local/p/r/..%2f..%2fserver.db",
        "/storage/..%2f..%2fserver.json",
        "/%2e%2e/x",
    ):
        assert lab.http.get(path, auth=("api", KEY)).status_code in (403, 404)


def test_guessing_keys_is_slowed_down_but_the_right_key_passes(lab: Lab) -> None:
    codes = {
        lab.http.post("/graphql", json=VIEWER, auth=("api", f"local-{n:040}")).status_code
        for n in range(60)
    }
    assert codes == {401, 429}
    assert lab.http.post("/graphql", json=VIEWER, auth=("api", KEY)).status_code == 200


def test_a_rate_limit_refills_with_time() -> None:
    limit = RateLimit(per_s=1, burst=2)
    assert [limit.allows("a", 0.0) for _ in range(3)] == [True, True, False]
    assert limit.allows("b", 0.0)
    assert limit.allows("a", 1.0)


def test_a_browser_logs_in_with_the_key_and_gets_a_safe_cookie(lab: Lab) -> None:
    lab.init("r", displayName="<script>alert(1)</script>")
    form = {"key": KEY, "next": "//evil.example/"}
    answer = lab.http.post("/login", data=form, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    page = lab.http.get("/local/p/runs/r")
    assert page.status_code == 200
    assert "<script>" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert lab.http.get("/others/p").status_code == 404
    assert (
        TestClient(lab.app, base_url="http://127.0.0.1")
        .post("/login", data={"key": "wrong"})
        .status_code
        == 401
    )
    assert lab.http.post("/graphql", json=VIEWER).status_code == 401  # a cookie is no API key


def test_a_forged_token_is_worth_nothing() -> None:
    signer, other = Signer(b"a" * 32), Signer(b"b" * 32)
    token = signer.sign({"get": "x"}, 100)
    assert signer.open(token, 99) == {"get": "x", "exp": 100}
    assert signer.open(token, 101) is None
    assert other.open(token, 99) is None
    for damaged in ("", ".", "a.b", token + "x", "é." + token):
        assert signer.open(damaged, 99) is None
    assert "aaaa" not in repr(signer)
