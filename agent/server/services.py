"""What lasts as long as the server, and what its parts share without knowing each other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.server.store.blobs import BlobStore
from agent.server.store.claims import Policy
from agent.server.store.database import Connection, Database
from agent.server.store.pauses import AttentiveClock
from agent.server.store.streams import KeyCatalogue
from agent.server.store.tokens import Signer

# Runs a GraphQL document: (text, variables, operation name, entity, address) -> response object.
Execute = Callable[[str, dict[str, Any], str | None, str, str], dict[str, Any]]


@dataclass(slots=True)
class Services:
    """What lasts as long as the server."""

    database: Database
    blobs: BlobStore
    signer: Signer
    policy: Policy
    catalogue: KeyCatalogue
    clock: Callable[[], float]
    address: str  # the base URL that links and signed addresses start with
    notice: Callable[[], str] = lambda: ""  # what people should know of the server's state

    def excuse_pauses(self, connection: Connection) -> None:
        """Before anything is judged by its silence: the server's own pauses do not count."""
        if isinstance(self.clock, AttentiveClock):
            self.clock.excuse(connection)
