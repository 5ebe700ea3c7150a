"""What has been sent to which server: the memory that makes a repeated sync send nothing twice."""

import json
import sqlite3
from pathlib import Path
from typing import Any


class Ledger:
    """Notes about sent things, each durable before the next thing is sent."""

    def __init__(self, path: Path, target: str) -> None:
        self._target = target
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS sent (target TEXT, kind TEXT, source TEXT, note TEXT, "
            "PRIMARY KEY (target, kind, source)) WITHOUT ROWID"
        )

    def note(self, kind: str, source: str | int) -> dict[str, Any]:
        """What is known of a thing at this target; empty if nothing is."""
        row = self._connection.execute(
            "SELECT note FROM sent WHERE target = ? AND kind = ? AND source = ?",
            (self._target, kind, str(source)),
        ).fetchone()
        found: dict[str, Any] = json.loads(row[0]) if row else {}
        return found

    def write(self, kind: str, source: str | int, **note: Any) -> None:
        """Add to what is known of a thing."""
        known = {**self.note(kind, source), **note}
        self._connection.execute(
            "INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?)",
            (self._target, kind, str(source), json.dumps(known)),
        )

    def forget(self, kind: str, source: str | int) -> None:
        """Forget a thing at this target."""
        self._connection.execute(
            "DELETE FROM sent WHERE target = ? AND kind = ? AND source = ?",
            (self._target, kind, str(source)),
        )

    def close(self) -> None:
        self._connection.close()
