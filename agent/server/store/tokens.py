"""Opaque ids and signed addresses.

An id names a row ("Run:17" in base64, because the client decodes artifact ids). A signed address
lets its holder upload or download one thing until it expires, without a key.
"""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from agent.server.store.database import Connection
from agent.server.store.scalars import whole_number

UPLOAD_LIFETIME_S = 24 * 3600
DOWNLOAD_LIFETIME_S = 3600
Owner = tuple[str, int]  # "run" or "artifact", and its id
_OWNED = {
    "run": "SELECT 1 FROM run_file WHERE run_id = :owner AND blob = :blob",
    "artifact": "SELECT 1 FROM artifact WHERE id = :owner AND state != 'DELETED' AND (EXISTS "
    "(SELECT 1 FROM artifact_file WHERE artifact_id = :owner AND blob = :blob) OR EXISTS "
    "(SELECT 1 FROM manifest WHERE artifact_id = :owner AND blob = :blob))",
}


def download_grant(blob: str, name: str, owner: Owner) -> dict[str, Any]:
    """What a signed address for a download says; it is dead once the owner is deleted."""
    return {"get": blob, "name": name.rsplit("/", 1)[-1], "of": list(owner)}


def is_still_owned(connection: Connection, grant: dict[str, Any]) -> bool:
    """Whether the owner of the content still has it."""
    kind, owner = grant.get("of") or (None, None)
    query = _OWNED.get(str(kind))
    values = {"owner": owner, "blob": grant["get"]}
    return query is not None and connection.execute(query, values).fetchone() is not None


def node_id(kind: str, row_id: int) -> str:
    return base64.b64encode(f"{kind}:{row_id}".encode()).decode()


def row_id(kind: str, identifier: str | None) -> int | None:
    """The row an id names, or None if it is not an id of this kind."""
    if not identifier:
        return None
    try:
        found, _, number = base64.b64decode(identifier, validate=True).decode().partition(":")
        return whole_number(number) if found == kind else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Signer:
    """Makes and checks the tokens in signed addresses."""

    secret: bytes

    def __repr__(self) -> str:
        return "Signer(…)"

    @property
    def mark(self) -> str:
        """A few letters that tell this server's secrets from another's without revealing any."""
        return hashlib.sha256(b"mark" + self.secret).hexdigest()[:8]

    @property
    def host(self) -> str:
        """A name for this machine that browsers resolve to it and that cannot be guessed.

        They send a cookie to every port of the host that set it: under 127.0.0.1 a session reaches
        the servers of other people on the machine, under this name it does not.
        """
        return f"sweeps-{hashlib.sha256(b'host' + self.secret).hexdigest()[:12]}.localhost"

    def sign(self, grant: dict[str, Any], expires_at: float) -> str:
        body = json.dumps({**grant, "exp": int(expires_at)}, separators=(",", ":")).encode()
        return f"{_encode(body)}.{_encode(self._mac(body))}"

    def open(self, token: str, now: float) -> dict[str, Any] | None:
        """What the token grants, or None if it is forged, damaged or expired."""
        body_text, _, mac_text = token.partition(".")
        try:
            body, mac = _decode(body_text), _decode(mac_text)
        except ValueError:
            return None
        if not hmac.compare_digest(mac, self._mac(body)):
            return None
        grant: dict[str, Any] = json.loads(body)
        return grant if grant["exp"] >= now else None

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self.secret, body, hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
