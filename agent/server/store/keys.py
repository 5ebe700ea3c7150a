"""API keys: made, checked, listed, revoked. Only digests of them are stored."""

import hashlib
import re
import secrets
import string
from dataclasses import dataclass

from agent.errors import ConfigError
from agent.server.store.database import Connection, insert
from agent.server.store.records import Record

# The client's own rule: what follows the first "-" has at least 40 of these characters.
_KEY_BODY = re.compile(r"[A-Za-z0-9_-]{40,200}")
_ENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
HINT_LENGTH = 10
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class KeyRecord(Record):
    """What is known of a key: never the key."""

    id: int
    hint: str  # its first characters, too few to guess the rest
    entity: str
    label: str
    created_at: float
    revoked_at: float | None


def new_key() -> str:
    """A key that the client accepts."""
    return "local-" + "".join(secrets.choice(_ALPHABET) for _ in range(40))


def digest_of(key: str) -> str:
    """What is stored. A plain hash is enough, because keys are random, not passwords."""
    return hashlib.sha256(key.encode()).hexdigest()


def add_key(
    connection: Connection, key: str, entity: str, *, now: float, label: str = ""
) -> KeyRecord:
    """Store a key's digest for an entity. Raises ConfigError naming every violation."""
    problems = []
    body = key.partition("-")[2] if "-" in key else key
    if not _KEY_BODY.fullmatch(body):
        problems.append(
            "the key must have at least 40 letters, digits, '-' or '_' (after the first '-')"
        )
    if not _ENTITY.fullmatch(entity):
        problems.append(
            f"entity {entity!r}: use up to 64 letters, digits, '-' or '_', the first not a sign"
        )
    row = connection.execute("SELECT 1 FROM api_key WHERE digest = ?", (digest_of(key),)).fetchone()
    if row:
        problems.append("this key exists already; make another one")
    if problems:
        raise ConfigError(problems, where="the new key")
    key_id = insert(
        connection,
        "api_key",
        digest=digest_of(key),
        hint=key[:HINT_LENGTH],
        entity=entity,
        label=label,
        created_at=now,
    )
    return KeyRecord.of(
        connection.execute("SELECT * FROM api_key WHERE id = ?", (key_id,)).fetchone()
    )


def list_keys(connection: Connection) -> list[KeyRecord]:
    rows = connection.execute("SELECT * FROM api_key ORDER BY id")
    return [KeyRecord.of(row) for row in rows]


def revoke_key(connection: Connection, key_id: int, *, now: float) -> bool:
    """False if there is no such live key."""
    cursor = connection.execute(
        "UPDATE api_key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, key_id)
    )
    return cursor.rowcount == 1


def find_key(connection: Connection, key: str) -> KeyRecord | None:
    """The live key with this text."""
    row = connection.execute(
        "SELECT * FROM api_key WHERE digest = ? AND revoked_at IS NULL", (digest_of(key),)
    ).fetchone()
    return KeyRecord.maybe(row)
