"""Where things go: a server, an entity there, what it has of ours, and what was deleted there.

What somebody deleted at the destination stays deleted. A run that was deleted here and made again
under its name (as a grid point is) is another run, so it never changes the one that arrived before,
nor one that somebody else made: it gets the next free name there. So does a run that began anew and
has fewer lines now than have arrived: the parts of two attempts are never mixed. A sent run carries
in its config, where people do not see it, which run of which server it is, so that this holds for a
data directory that was brought back from an older copy too.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from agent.errors import ServerError
from agent.server.store.database import Connection
from agent.server.store.records import Project, Run
from agent.server.store.tokens import Signer
from agent.server.sync.ledger import Ledger
from agent.server.sync.remote import Remote

_ORIGIN = "synced_from"
_FIND_RUN = """
query FindRun($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { id config historyLineCount }
  }
}"""
_FIND_SWEEP = """
query FindSweep($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $name) { id } }
}"""
_FIND_ARTIFACT = "query FindArtifact($id: ID!) { artifact(id: $id) { id state } }"


@dataclass(frozen=True)
class Found:
    """A run there."""

    id: str
    origin: str | None  # which run it was sent from
    lines: int  # of its history


@dataclass(frozen=True)
class Destination:
    """A server, an entity there, and the memory of what it has."""

    remote: Remote
    entity: str
    ledger: Ledger
    mark: str = ""  # of the server whose runs are sent

    def find_run(self, project: Project, name: str) -> Found | None:
        """The run with this name there, if there is one."""
        run = self._ask(_FIND_RUN, project, name).get("run")
        if not run:
            return None
        return Found(run["id"], _origin_in(run.get("config")), run.get("historyLineCount") or 0)

    def origin_of(self, run: Run) -> str:
        """What a sent run carries: which run of which server it is."""
        return f"{self.mark} {run.id}"

    def has_sweep(self, project: Project, name: str) -> bool:
        return bool(self._ask(_FIND_SWEEP, project, name).get("sweep"))

    def has_artifact(self, identifier: str) -> bool:
        found = self.remote.ask(_FIND_ARTIFACT, id=identifier)["artifact"]
        return bool(found) and found["state"] != "DELETED"

    def place_of(self, project: Project, run: Run) -> tuple[str, Found | None] | None:
        """The name that the run has or gets there, and what is there of it; None when it was sent
        and has been deleted there since."""
        known = self.ledger.note("run", run.id)
        names = _names(run.name)
        if known:
            name = known.get("name", run.name)
            there = self.find_run(project, name)
            if there is None or there.id != known["id"]:
                return None
            if there.lines <= run.history_lines:
                return name, there
        for name in names:
            there = self.find_run(project, name)
            is_own = there is not None and there.origin == self.origin_of(run)
            if there is None or (is_own and there.lines <= run.history_lines):
                return name, there
        raise AssertionError("names do not end")

    def name_of(self, run: Run) -> str | None:
        """The name of a sent run there; None when it was deleted there."""
        known = self.ledger.note("run", run.id)
        return None if known.get("gone") else known.get("name", run.name)

    def _ask(self, document: str, project: Project, name: str) -> dict[str, Any]:
        found = self.remote.ask(document, project=project.name, entity=self.entity, name=name)
        return found["project"] or {}


@dataclass
class Tally:
    """What one sync has sent."""

    sweeps: int = 0
    runs: int = 0
    lines: int = 0
    files: int = 0
    artifacts: int = 0


def server_mark(connection: Connection) -> str:
    """What tells the server of a data directory, and of its copies, from any other."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'signing_secret'").fetchone()
    return Signer(bytes.fromhex(row[0])).mark if row else ""


def whoami(remote: Remote) -> str:
    """The entity of the key. Raises ServerError for a key the server does not know."""
    viewer = remote.ask("query Viewer { viewer { entity } }")["viewer"]
    if not viewer:
        raise ServerError(f"{remote.url} does not know this key; run `wandb login`")
    return str(viewer["entity"])


def with_origin(config: dict[str, Any], origin: str) -> dict[str, Any]:
    """The config of a run with what `free_name` looks for."""
    held = config.get("_wandb")
    value = held.get("value") if isinstance(held, dict) else None
    hidden = {**(value if isinstance(value, dict) else {}), _ORIGIN: origin}
    return {**config, "_wandb": {**(held if isinstance(held, dict) else {}), "value": hidden}}


def _origin_in(config: str | None) -> str | None:
    try:
        return str(json.loads(config or "{}")["_wandb"]["value"][_ORIGIN])
    except (ValueError, KeyError, TypeError):
        return None


def _names(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in count(2))
