"""A server on a full disk says so in one line, shows its pages, and goes on when there is room."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from agent.server.process import running_server
from agent.server_note import login_header
from tests.end_to_end.test_full_disk import fill
from tests.end_to_end.test_full_disk import small_disk as small_disk

UPSERT = "mutation M($i: UpsertBucketInput!) {upsertBucket(input: $i) {bucket {name}}}"
FILES = "mutation M($i: CreateRunFilesInput!) {createRunFiles(input: $i) {files {uploadUrl}}}"


def ask(method: str, url: str, key: str, data: bytes | None) -> tuple[int, str]:
    request = urllib.request.Request(url, data, login_header(key), method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_full_disk_is_answered_in_one_line_and_room_is_used_at_once(small_disk: Path) -> None:
    data = small_disk / "data"
    with running_server(data) as server:
        key, url = server.env["WANDB_API_KEY"], server.base_url

        def post(path: str, body: Any) -> tuple[int, str]:
            return ask("POST", url + path, key, json.dumps(body).encode())

        run = {"name": "r", "modelName": "p", "host": "h", "notes": "n" * 200_000}
        init = {"query": UPSERT, "variables": {"i": run}}
        assert post("/graphql", init)[0] == 200
        files = {"entityName": server.entity, "projectName": "p", "runName": "r", "files": ["f"]}
        made = post("/graphql", {"query": FILES, "variables": {"i": files}})[1]
        upload = json.loads(made)["data"]["createRunFiles"]["files"][0]["uploadUrl"]
        lines = [json.dumps({"_step": 0, "x": "y" * 200_000})]
        part = {"files": {"wandb-history.jsonl": {"offset": 0, "content": lines}}}
        stream = f"/files/{server.entity}/p/r/file_stream"
        fill(small_disk / "filler")
        for _ in range(3):
            for status, said in (
                post("/graphql", init | {"variables": {"i": run | {"notes": "m" * 200_000}}}),
                post(stream, part),
                ask("PUT", upload, key, b"z" * 300_000),
            ):
                assert status == 503
                assert "free space on the disk" in said
            assert ask("GET", f"{url}/{server.entity}/p", key, None)[0] == 200
        words = [sys.executable, "-m", "agent.cli", "keys", "add", "--data", str(data)]
        added = subprocess.run(
            [*words, "--entity", "other"], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert (added.returncode, added.stdout) == (74, "")
        assert added.stderr == "sweep-agent keys: database or disk is full\n"
        (small_disk / "filler").unlink()
        assert post(stream, part)[0] == post("/graphql", init)[0] == 200
        assert ask("PUT", upload, key, b"z" * 300_000)[0] == 200
        assert list((data / "blobs" / "incoming").iterdir()) == []
    log = (data / "server.log").read_text()
    assert "Traceback" not in log
    assert len(log.splitlines()) < 12


def test_a_server_that_cannot_start_on_a_full_disk_says_why(small_disk: Path) -> None:
    (small_disk / "data").mkdir(mode=0o700)
    fill(small_disk / "filler")
    words = [sys.executable, "-m", "agent.cli", "serve", "--port", "0", "--data"]
    started = subprocess.run(
        [*words, str(small_disk / "data")], capture_output=True, text=True, timeout=60
    )
    assert started.returncode == 74
    assert len(started.stderr.splitlines()) == 1
    assert "full" in started.stderr or "No space left" in started.stderr
