"""Where things go: a server, an entity there, what it has of ours, and what was deleted there.

What somebody deleted at the destination stays deleted. A run that was deleted here and made again
under its name (as a grid point is) is another run, so it never changes the one that arrived before:
it gets the next free name there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from agent.errors import ServerError
from agent.server.store.records import Project, Run
from agent.server.sync.ledger import Ledger
from agent.server.sync.remote import Remote

_FIND_RUN = """
query FindRun($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { id } }
}"""
_FIND_SWEEP = """
query FindSweep($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $name) { id } }
}"""
_FIND_ARTIFACT = "query FindArtifact($id: ID!) { artifact(id: $id) { id state } }"


@dataclass(frozen=True)
class Destination:
    """A server, an entity there, and the memory of what it has."""

    remote: Remote
    entity: str
    ledger: Ledger

    def run_id(self, project: Project, name: str) -> str | None:
        """The id of the run with this name there, if there is one."""
        found = self._ask(_FIND_RUN, project, name)
        return str(found["run"]["id"]) if found.get("run") else None

    def has_sweep(self, project: Project, name: str) -> bool:
        return bool(self._ask(_FIND_SWEEP, project, name).get("sweep"))

    def has_artifact(self, identifier: str) -> bool:
        found = self.remote.ask(_FIND_ARTIFACT, id=identifier)["artifact"]
        return bool(found) and found["state"] != "DELETED"

    def free_name(self, project: Project, run: Run) -> str:
        """Its own name, unless the run there with that name is one that was deleted here since."""
        for name in _names(run.name):
            there = self.run_id(project, name)
            if there is None or not self.ledger.others("run", run.id, there):
                return name
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


def whoami(remote: Remote) -> str:
    """The entity of the key. Raises ServerError for a key the server does not know."""
    viewer = remote.ask("query Viewer { viewer { entity } }")["viewer"]
    if not viewer:
        raise ServerError(f"{remote.url} does not know this key; run `wandb login`")
    return str(viewer["entity"])


def _names(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in count(2))
