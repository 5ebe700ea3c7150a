"""A reader of the pages of a lab's server, and what it reads there."""

import json
import re
from typing import Any

from agent.results.query.records import words_of
from agent.server.pages.table import Row
from agent.server.store.artifacts import ensure_collection
from agent.server.store.blobs import BlobStore
from agent.server.store.database import Connection, insert
from tests.server.server_lab import KEY, Lab

HOSTILE = "<img src=x onerror=alert(1)>\"'&</script>{{7*7}}"
AUTH = ("api", KEY)


def see(lab: Lab, path: str, status: int = 200) -> str:
    answer = lab.http.get(path, auth=AUTH)
    assert answer.status_code == status, answer.text[-500:]
    return answer.text


def data(lab: Lab, path: str) -> dict[str, Any]:
    answer = lab.http.get(path, auth=AUTH)
    assert answer.status_code == 200, answer.text[-500:]
    found: dict[str, Any] = answer.json()
    return found


def log_in(lab: Lab, key: str = KEY, target: str = "/") -> Any:
    form = {"key": key, "next": target}
    return lab.http.post("/login", data=form, follow_redirects=False)


def token_in(text: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', text)
    assert found is not None
    return found[1]


def make_run(lab: Lab, name: str = "r1", **values: Any) -> None:
    """A finished run with a config, a summary and three points of history."""
    config = json.dumps({key: {"value": value} for key, value in values.items()})
    lab.init(name, config=config, displayName=values.get("display_name", name))
    rows = [
        {"_step": i, "epoch": i + 1.0, "validation/f1_score": i / 4, "odd": float(i) if i else None}
        for i in range(3)
    ]
    lab.log(name, 0, rows)
    lab.summarize(name, {"final/validation_f1_score": 0.5, "_step": 2, "odd": 2.0})
    lab.finish(name)


def add_blob(blobs: BlobStore, content: bytes) -> str:
    receiver = blobs.receive()
    receiver.write(content)
    return receiver.keep().name


def add_predictions(
    connection: Connection, blobs: BlobStore, run: str, content: bytes, now: float
) -> None:
    """The artifact in which the study's runs log what they answered."""
    found = connection.execute("SELECT * FROM run WHERE name = ?", (run,)).fetchone()
    collection = ensure_collection(
        connection, found["project_id"], "predictions", f"predictions-{run}", now
    )
    times = {"created_at": now, "updated_at": now}
    artifact = insert(
        connection,
        "artifact",
        sequence_id=collection.id,
        state="COMMITTED",
        digest="d",
        run_id=found["id"],
        version_index=0,
        **times,
    )
    file = {"name": "predictions.jsonl", "md5": "m", "size": len(content)}
    blob = add_blob(blobs, content)
    insert(connection, "artifact_file", artifact_id=artifact, blob=blob, **file)


def rows_of(*values: dict[str, Any]) -> list[Row]:
    """Rows of a table, named r0, r1 …"""
    return [
        Row(
            *(f"r{i}", None, float(i), given, dict.fromkeys(given, "config")),
            words=words_of(given.values()),
        )
        for i, given in enumerate(values)
    ]
