"""More hostile requests: what a stranger with a valid key, or none, might think of."""

import gzip
import json
from collections.abc import Callable
from typing import Any

Attack = tuple[str, bytes]
_RUNS = (
    "query Q($f: JSONString, $o: String) "
    '{project(name: "p") {runs(filters: $f, order: $o) {edges {cursor}}}}'
)
_BUCKET = "mutation M($i: UpsertBucketInput!) {upsertBucket(input: $i) {bucket {id}}}"
_SWEEP = "mutation M($i: UpsertSweepInput!) {upsertSweep(input: $i) {sweep {id}}}"


def odd_values() -> list[tuple[str, bytes]]:
    """GraphQL bodies whose values are wrong, huge or cunning."""

    def ask(document: str, **variables: Any) -> bytes:
        return json.dumps({"query": document, "variables": variables}).encode()

    def filtered(tree: Any) -> bytes:
        return ask(_RUNS, f=json.dumps(tree))

    def bucket(**more: Any) -> bytes:
        return ask(_BUCKET, i={"name": "odd", "modelName": "p", **more})

    fragments = " ".join(f"fragment F{i} on User {{...F{i + 1} a{i}: id}}" for i in range(30))
    huge = 10**40
    return [
        ("half characters", b'{"query": "{viewer {id}}", "operationName": "\\ud800"}'),
        ("half characters in a run", bucket(notes="x").replace(b'"x"', b'"\\udfff"')),
        ("null bytes in a name", bucket(name="a\0b")),
        ("line breaks in a name", bucket(name="a\r\nSet-Cookie: x=1")),
        ("a name upwards", bucket(name="../../etc/passwd")),
        ("a foreign entity", bucket(entityName="others")),
        ("no object as a config", bucket(config="[1]")),
        ("a deep summary", bucket(summaryMetrics='{"a":' * 5000 + "1" + "}" * 5000)),
        ("an object as text", ask(_RUNS, f={"name": "r"})),
        ("a huge number", filtered({"config.x": huge})),
        (
            "a huge cursor",
            ask('{project(name: "p") {runs(after: "' + "9" * 40 + '") {totalCount}}}'),
        ),
        ("a strange cursor", ask('{project(name: "p") {runs(after: "²") {totalCount}}}')),
        ("a list as a date", filtered({"created_at": {"$gt": [1]}})),
        ("an object as a tag", filtered({"tags": {"$in": [{"a": 1}]}})),
        ("thousands of conditions", filtered({"$or": [{"name": "x"}] * 5000})),
        ("a catastrophic pattern", filtered({"name": {"$regex": "(a+)+$"}})),
        ("a cunning pattern", filtered({"display_name": {"$regex": "a?" * 30 + "a" * 30}})),
        ("a null byte in a path", filtered({"config.a\0b": 1})),
        ("quotes in an order", ask(_RUNS, o="+config.a'b?c,-summary_metrics.x.y?'z")),
        ("thousands of orders", ask(_RUNS, o=",".join(["name"] * 5000))),
        (
            "thousands of aliases",
            ask("{" + " ".join(f"a{i}: viewer {{id}}" for i in range(2000)) + "}"),
        ),
        (
            "changes by alias",
            ask(
                "mutation {"
                + " ".join(
                    f'a{i}: stopRun(input: {{id: "UnVuOjk5OTk5"}}) {{success}}' for i in range(60)
                )
                + "}"
            ),
        ),
        (
            "a chain of fragments",
            ask("{viewer {...F0}} " + fragments + " fragment F30 on User {id}"),
        ),
        ("a circle of fragments", ask("{viewer {...A}} fragment A on User {...A}")),
        ("a deep introspection", ask("{__schema {types {fields {type {fields {type {name}}}}}}}")),
        ("a subscription", ask("subscription {viewer {id}}")),
        (
            "digits without end",
            b'{"query": "{viewer {id}}", "variables": {"a": ' + b"9" * 90_000 + b"}}",
        ),
        ("aliases in yaml", ask(_SWEEP, i={"projectName": "p", "config": "a: &a [x]\nb: [*a]\n"})),
        (
            "code in yaml",
            ask(
                _SWEEP,
                i={
                    "projectName": "p",
                    "config": "method: grid\n"
                    "parameters: {x: {value: !!python/object/apply:os.system [id]}}",
                },
            ),
        ),
        (
            "endless yaml",
            ask(
                _SWEEP,
                i={
                    "projectName": "p",
                    "config": "method: grid\nparameters:\n"
                    + "".join(f"  p{i}: {{value: 1}}\n" for i in range(5000)),
                },
            ),
        ),
    ]


def odd_requests(own: str, key_header: str, post: Callable[..., bytes]) -> list[Attack]:
    """Whole requests: odd methods, framings, paths and bodies."""
    stream = "/files/local/p/r/file_stream"
    bomb = gzip.compress(b" " * (40 * 2**20))
    plain = f"HTTP/1.1\r\n{own}"
    keyed = f"{plain}{key_header}"
    chunked = f"POST /graphql {keyed}Transfer-Encoding: chunked\r\n\r\n"

    def row(content: str, name: str = "wandb-history.jsonl", offset: Any = 0) -> bytes:
        part = {"files": {name: {"offset": offset, "content": [content]}}}
        return post(stream, json.dumps(part).encode())

    return [
        *((name, post("/graphql", body)) for name, body in odd_values()),
        ("a bomb", post("/graphql", bomb, more="Content-Encoding: gzip\r\n")),
        ("a bomb in a part", post(stream, bomb, more="Content-Encoding: gzip\r\n")),
        ("a row that is none", row("[1]")),
        ("a step out of range", row('{"_step": 1e300}')),
        ("an offset out of range", row("{}", offset=-(10**30))),
        ("a summary that is none", row("[1]", "wandb-summary.json")),
        ("a huge exit code", post(stream, b'{"complete": true, "exitcode": 1' + b"0" * 30 + b"}")),
        ("a file name with line breaks", post(stream, b'{"files": {"a\\r\\nb": 1}}')),
        ("chunks without end", f"{chunked}5\r\nhello\r\n".encode()),
        ("a chunk of terabytes", f"{chunked}FFFFFFFFFFFF\r\nx".encode()),
        (
            "two lengths",
            f"POST /graphql {keyed}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx".encode(),
        ),
        (
            "length and chunks",
            f"POST /graphql {keyed}Content-Length: 5\r\n"
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        ),
        ("pipelined", f"GET /ready {plain}\r\n".encode() * 40),
        ("trace", f"TRACE /graphql {keyed}\r\n".encode()),
        ("options", f"OPTIONS * {plain}\r\n".encode()),
        ("a foreign address", f"GET http://evil.example/ready {plain}\r\n".encode()),
        (
            "a web socket",
            f"GET /graphql {keyed}Upgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode(),
        ),
        ("another protocol", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("two hosts", f"GET /ready {plain}Host: evil.example\r\n\r\n".encode()),
        ("a null byte in a path's name", f"GET /files/local/p/r/%00 {keyed}\r\n".encode()),
        ("backslashes", f"GET /files/local/p/r/..\\..\\server.db {keyed}\r\n".encode()),
        ("an encoded folder", f"GET /static/..%2f..%2fserver.py {plain}\r\n".encode()),
        ("a file of another entity", f"GET /files/others/p/r/x {keyed}\r\n".encode()),
        (
            "a range of a thousand parts",
            f"GET /storage/a.b {plain}Range: bytes="
            f"{','.join(f'{i}-{i}' for i in range(1000))}\r\n\r\n".encode(),
        ),
    ]
