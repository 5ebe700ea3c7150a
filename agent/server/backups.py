"""A copy of everything, taken while the server works."""

import shutil
from pathlib import Path

from agent.errors import ServerError
from agent.server.store.database import Database


def back_up(data_dir: Path, target: Path) -> tuple[int, int]:
    """Copy a data directory to a new one; (files copied, bytes).

    The database comes first and contents are never changed or removed, so every content that the
    copied rows name is among the contents copied after them. A server can serve the copy as it is.
    Raises ServerError if the target exists or the source is no data directory.
    """
    source = data_dir / "server.db"
    if not source.exists():
        raise ServerError(f"{data_dir} is not the data directory of a sweep server")
    if target.exists() and any(target.iterdir()):
        raise ServerError(f"{target} is not empty: give --to a new directory")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(source)
    try:
        database.back_up(target / "server.db")
    finally:
        database.close()
    (target / "server.db").chmod(0o600)
    count = size = 0
    for path in sorted((data_dir / "blobs").glob("??/*")):
        copy = target / "blobs" / path.parent.name / path.name
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copy2(path, copy)
        count, size = count + 1, size + path.stat().st_size
    return count, size
