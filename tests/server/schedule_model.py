"""What each key of a server must see while random things happen, here and at another server."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.errors import ServerError
from agent.server.store.claims import Policy
from agent.server.store.records import Project
from agent.server.sync.destination import Destination, server_mark
from agent.server.sync.ledger import Ledger
from agent.server.sync.remote import Remote
from agent.server.sync.runs import sync_project
from tests.server.server_lab import KEY, Lab

VIEW = (
    'query Q($e: String) {project(name: "p", entityName: $e) {runs(first: 100) {edges {node '
    "{name history files(first: 50) {edges {node {name directUrl}}}}}}}}"
)


@dataclass
class Life:
    """A run from its making to its deletion; another run of the same name is another life."""

    number: int
    entity: str
    name: str
    id: str
    lines: list[int] = field(default_factory=list)
    file: str | None = None
    upload: str = ""


@dataclass
class Agent:
    """An agent that lives: it speaks at every tick."""

    id: str
    run: str | None = None


@dataclass
class Model:
    """What must be visible to each entity."""

    runs: dict[tuple[str, str], Life] = field(default_factory=dict)
    agents: list[Agent] = field(default_factory=list)
    sweep: str | None = None
    done: set[str] = field(default_factory=set)  # points whose runs have finished


class Here(Remote):
    """The requests of `sync`, answered by a server in this process."""

    lab: Lab

    def _send(self, method: str, address: str, body: bytes, headers: dict[str, str]) -> bytes:
        answer = self.lab.http.request(
            method, urlsplit(address).path, content=body, headers=headers
        )
        if answer.status_code >= 400:
            raise ServerError(answer.text)
        return answer.content


def runs_in(data: dict[str, Any]) -> list[dict[str, Any]]:
    project = data["project"]
    return [edge["node"] for edge in project["runs"]["edges"]] if project else []


class OtherServer:
    """A server to sync to, and what has arrived there of each life at each sync."""

    def __init__(self, root: Path, policy: Policy) -> None:
        root.mkdir()
        self.lab = Lab(root, policy)
        self._arrived: dict[int, set[tuple[int, ...]]] = {}  # lines of each life, at each sync

    def sync(self, lab: Lab, data: Path, lives: list[Life]) -> None:
        with lab.services.database.read() as connection:
            remote = Here("http://127.0.0.1", KEY)
            object.__setattr__(remote, "lab", self.lab)
            ledger = Ledger(data / "sync.db", "there")
            to = Destination(remote, "local", ledger, server_mark(connection))
            row = connection.execute(
                "SELECT * FROM project WHERE name = 'p' AND entity = 'local'"
            ).fetchone()
            if row is not None:
                sync_project(connection, data, to, Project.of(row), lambda _: None)
            ledger.close()
        self._check([life for life in lives if life.entity == "local" and life.lines])

    def _check(self, alive: list[Life]) -> None:
        """Each life is there as it is here, or was at an earlier sync; no two are mixed."""
        for life in alive:
            self._arrived.setdefault(life.number, set()).add(tuple(life.lines))
        found: dict[int, set[tuple[int, ...]]] = {number: set() for number in self._arrived}
        for node in runs_in(self.lab.ask(VIEW, e="local")):
            rows = [json.loads(line) for line in node["history"]]
            marks = {row["mark"] for row in rows}
            assert len(marks) <= 1, f"{node['name']} there is a mixture of {marks}"
            for mark in marks:
                assert mark.startswith("of local ")
                found[int(mark.split()[-1])].add(tuple(row["v"] for row in rows))
        for number, versions in found.items():
            assert versions, f"life {number} is not there any more"
            assert versions <= self._arrived[number], f"life {number} is mixed there"
        for life in alive:
            # A server that went back in time may have had more lines when it was synced last.
            mine = tuple(life.lines)
            whole = [version for version in found[life.number] if version[: len(mine)] == mine]
            assert whole, f"{life.name} did not arrive"
