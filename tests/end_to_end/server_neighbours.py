"""Heavy requests of one key beside the heartbeats and streams of another."""

import json
import multiprocessing
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.server.process import ServerAddress, running_server
from agent.server.store.database import Database
from agent.server.store.keys import add_key
from agent.server_note import login_header
from tests.end_to_end.server_load import percentile_ms

GREEDY = "local-" + "g" * 40
LINES = 20_000
UPSERT = "mutation M($i: UpsertBucketInput!) {upsertBucket(input: $i) {bucket {id name}}}"
SAMPLES = (
    "mutation M($i: UpsertBucketInput!, $s: [JSONString!]!) "
    "{upsertBucket(input: $i) {bucket {sampledHistory(specs: $s)}}}"
)


def ask(server: ServerAddress, document: str, **variables: Any) -> dict[str, Any]:
    """The data of an operation that must succeed."""
    headers = {**login_header(server.env["WANDB_API_KEY"]), "Content-Type": "application/json"}
    body = json.dumps({"query": document, "variables": variables}).encode()
    request = urllib.request.Request(f"{server.base_url}/graphql", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.load(answer)
    assert not found.get("errors"), found
    data: dict[str, Any] = found["data"]
    return data


def post(url: str, key: str, body: Any, timeout_s: float = 120) -> tuple[int, float]:
    """(HTTP status, seconds) of one request; 0 for a page."""
    data = None if body is None else json.dumps(body).encode()
    headers = {**login_header(key), "Content-Type": "application/json"}
    started = time.perf_counter()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, headers), None, timeout_s
        ) as r:
            r.read()
            status = r.status
    except urllib.error.HTTPError as error:
        status = error.code
    return status, time.perf_counter() - started


def _many_samples(url: str) -> None:
    specs = [json.dumps({"keys": ["loss"], "samples": 500})] * 500
    body = {"query": SAMPLES, "variables": {"i": {"name": "big", "modelName": "p"}, "s": specs}}
    post(f"{url}/graphql", GREEDY, body)


def _large_part(url: str) -> None:
    lines = [json.dumps({"_step": i, "loss": i / 7, "x": "y" * 30}) for i in range(200_000)]
    files = {"wandb-history.jsonl": {"offset": 0, "content": lines}}
    post(f"{url}/files/greedy/p/large/file_stream", GREEDY, {"files": files})


def _many_keys(url: str) -> None:
    content = json.dumps({f"key{i}": i for i in range(1_200_000)})
    files = {"wandb-summary.json": {"offset": 0, "content": [content]}}
    post(f"{url}/files/greedy/p/keys/file_stream", GREEDY, {"files": files})
    for path in ("/greedy/p", "/greedy/p/data", "/greedy/p/runs/keys"):
        post(url + path, GREEDY, None)


HEAVY: dict[str, Callable[[str], None]] = {
    "samples": _many_samples,
    "large_part": _large_part,
    "many_keys": _many_keys,
}


def _again_and_again(name: str, url: str) -> None:
    while True:
        HEAVY[name](url)


def measure(data: Path, *, seconds: float) -> dict[str, Any]:
    """p99 of an honest key's streams and heartbeats: alone, and beside each heavy request."""
    figures: dict[str, Any] = {}
    with running_server(data) as server:
        database = Database(data / "server.db")
        with database.write() as connection:
            add_key(connection, GREEDY, "greedy", now=time.time())
        database.close()
        url, key = server.base_url, server.env["WANDB_API_KEY"]
        for name in ("big", "large", "keys"):
            _init(url, GREEDY, name)
        lines = [json.dumps({"_step": i, "loss": i / 7}) for i in range(LINES)]
        files = {"wandb-history.jsonl": {"offset": 0, "content": lines}}
        post(f"{url}/files/greedy/p/big/file_stream", GREEDY, {"files": files})
        _init(url, key, "honest")
        figures["alone"] = _honest(url, key, server.entity, seconds)
        context = multiprocessing.get_context("spawn")
        for name in HEAVY:
            process = context.Process(target=_again_and_again, args=(name, url), daemon=True)
            process.start()
            time.sleep(2)
            figures[name] = _honest(url, key, server.entity, seconds)
            process.terminate()
            process.join()
        figures["open_transaction"] = _beside_open_transaction(data, url, key, server.entity)
    return figures


def _init(url: str, key: str, name: str) -> None:
    config = json.dumps({"_wandb": {"value": {"t": {"1": 1}}}})
    variables = {"i": {"name": name, "modelName": "p", "host": "h", "config": config}}
    status, _ = post(f"{url}/graphql", key, {"query": UPSERT, "variables": variables})
    assert status == 200


def _honest(url: str, key: str, entity: str, seconds: float) -> dict[str, Any]:
    taken: list[float] = []
    worst = 200
    ends_at = time.monotonic() + seconds
    number = 0
    while time.monotonic() < ends_at:
        line = json.dumps({"_step": number, "loss": 1.0})
        files = {"wandb-history.jsonl": {"offset": number, "content": [line]}}
        stream = f"{url}/files/{entity}/p/honest/file_stream"
        for body in ({"files": files}, {}):
            status, took = post(stream, key, body)
            worst = max(worst, status)
            taken.append(took)
        number += 1
        time.sleep(0.02)
    return {
        "requests": len(taken),
        "worst_status": worst,
        "p50_ms": round(percentile_ms(taken, 0.5), 1),
        "p99_ms": round(percentile_ms(taken, 0.99), 1),
    }


def _beside_open_transaction(data: Path, url: str, key: str, entity: str) -> dict[str, Any]:
    """A shell has left a transaction open: pages are shown, changes say why they wait."""
    outside = sqlite3.connect(data / "server.db", isolation_level=None)
    outside.execute("BEGIN IMMEDIATE")
    pages = [post(f"{url}/{entity}/p", key, None) for _ in range(20)]
    status, took = post(f"{url}/files/{entity}/p/honest/file_stream", key, {})
    outside.execute("ROLLBACK")
    outside.close()
    after, _ = post(f"{url}/files/{entity}/p/honest/file_stream", key, {})
    return {
        "page_statuses": sorted({page[0] for page in pages}),
        "page_p99_ms": round(percentile_ms([page[1] for page in pages], 0.99), 1),
        "change": [status, round(took, 1)],
        "afterwards": after,
    }
