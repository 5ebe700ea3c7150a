"""Whether a server takes a key, asked of a server that answers as W&B does."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from agent.errors import ClusterError
from agent.tracking.login import check_login
from agent.tracking.notices import notice_url, post_notice, sweep_states

GOOD, REVOKED = "local-" + "g" * 40, "local-" + "r" * 40


class Answering(BaseHTTPRequestHandler):
    """401 for a revoked key, a null viewer for an unknown one."""

    requests: ClassVar[list[dict[str, object]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append(body)
        word = self.headers.get("Authorization", "").partition(" ")[2]
        key = base64.b64decode(word).decode().partition(":")[2]
        data: dict[str, object] = {"viewer": {"id": "1"} if key == GOOD else None}
        if "Sweep" in body.get("query", ""):
            data = {"project": {"sweep": {"name": "s", "state": "FINISHED"}}}
        answer = json.dumps({"data": data}).encode()
        self.send_response(401 if key == REVOKED else 200)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Quietly."""


@pytest.fixture
def url() -> Iterator[str]:
    Answering.requests = []
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("key", "problem"), [(GOOD, ""), (REVOKED, "refuses the key"), ("not-a-key", "refuses the key")]
)
def test_a_key_is_known_revoked_or_another_server_s(
    url: str, key: str, problem: str, tmp_path: Path
) -> None:
    found = check_login({"WANDB_BASE_URL": url, "WANDB_API_KEY": key}, tmp_path)
    assert (problem in found.problem) if problem else found.problem == ""
    assert key not in found.problem
    assert found.is_reachable


def test_a_netrc_for_another_host_has_no_key_for_this_one(url: str, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine api.wandb.ai login user password {GOOD}\n")
    netrc.chmod(0o600)
    assert "there is no key for 127.0.0.1" in check_login({"WANDB_BASE_URL": url}, tmp_path).problem
    netrc.write_text(f"machine 127.0.0.1 login user password {GOOD}\n")
    assert check_login({"WANDB_BASE_URL": url}, tmp_path).problem == ""


def test_a_server_that_is_away_is_no_fault_of_the_key(tmp_path: Path) -> None:
    away = {"WANDB_BASE_URL": "http://127.0.0.1:1", "WANDB_API_KEY": GOOD}
    assert not check_login(away, tmp_path).is_reachable


def test_the_end_is_posted_to_a_url_that_is_never_shown(url: str) -> None:
    states = sweep_states(["e/p/s"], {"WANDB_BASE_URL": url, "WANDB_API_KEY": GOOD})
    assert states == {"e/p/s": "FINISHED"}
    assert post_notice(url, {"sweeps": states}) == "the end was posted to the URL of --notify"
    assert Answering.requests[-1]["text"] == "sweeps have ended: e/p/s FINISHED"
    said = post_notice("http://127.0.0.1:1/secret", {"sweeps": states})
    assert "nothing could be posted" in said
    assert "secret" not in said


def test_the_url_of_the_notice_may_lie_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    assert notice_url("https://h/x") == "https://h/x"
    assert notice_url("") == ""
    path = tmp_path / "hook"
    path.write_text("https://hooks.example.org/T1\n")
    path.chmod(0o600)
    assert notice_url(str(path)) == "https://hooks.example.org/T1"
    path.chmod(0o644)
    with pytest.raises(ClusterError, match=r"can be read by others \(mode 0644\); run: chmod 600"):
        notice_url(str(path))
    for text in ("T1", "https://h/a https://h/b"):
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(ClusterError, match="must hold one URL and nothing else"):
            notice_url(str(path))
    with pytest.raises(ClusterError, match="No such file or directory; write the URL into it"):
        notice_url(str(tmp_path / "none"))
