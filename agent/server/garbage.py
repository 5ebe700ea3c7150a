"""Contents that no row names any more: removed, so that deleting frees the disk."""

import fcntl

from agent.server.backups import contents_held
from agent.server.store.blobs import BlobStore
from agent.server.store.database import Connection, Database

_OF_DELETED = "artifact_id IN (SELECT id FROM artifact WHERE state = 'DELETED')"
_NAMED = (
    "SELECT blob FROM run_file UNION SELECT blob FROM manifest WHERE blob IS NOT NULL UNION "
    "SELECT blob FROM artifact_upload WHERE blob IS NOT NULL UNION "
    "SELECT blob FROM artifact_file WHERE blob IS NOT NULL"
)


def collect(database: Database, blobs: BlobStore) -> int:
    """Remove what deleted artifacts, runs and files have left; how many contents went.

    Only for the server of the directory. While a copy is made nothing is removed.
    """
    try:
        with contents_held(blobs.root.parent, fcntl.LOCK_EX | fcntl.LOCK_NB):
            blobs.is_suspect = False
            with database.write() as connection:
                return blobs.keep_only(_forget_deleted(connection))
    except BlockingIOError:
        return 0


def _forget_deleted(connection: Connection) -> frozenset[str]:
    """The contents that rows still name, once the rows of deleted artifacts are gone."""
    for table in ("artifact_file", "artifact_upload", "manifest"):
        connection.execute(f"DELETE FROM {table} WHERE {_OF_DELETED}")
    connection.execute(f"DELETE FROM blob WHERE blob NOT IN ({_NAMED})")
    return frozenset(row[0] for row in connection.execute(_NAMED))
