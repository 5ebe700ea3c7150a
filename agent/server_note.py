"""Where the sweep server of a data directory listens: the note that it leaves there.

The server writes it; `env`, agents on compute nodes and the demo read it.
"""

import json
import stat
from base64 import b64encode
from dataclasses import asdict, dataclass, field
from pathlib import Path

from agent import files
from agent.errors import ServerError

NAME = "server.json"
NOTICE = "server-notice"


@dataclass(frozen=True)
class ServerNote:
    """What a client needs to reach the server."""

    url: str
    port: int
    entity: str
    key: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """The variables that point the wandb client here."""
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": self.key,
            "WANDB_ENTITY": self.entity,
            "WANDB_ERROR_REPORTING": "false",
        }


def read_note(data_dir: Path) -> ServerNote | None:
    """The note of the present or last server; None when there was none.

    ServerError when it is damaged, or when others can read the key in it.
    """
    path = data_dir / NAME
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        given = json.loads(path.read_text(encoding="utf-8"))
        note = ServerNote(given["url"], int(given.get("port", 0)), given["entity"], given["key"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ServerError(f"{path} is damaged: delete it and start the server again") from None
    if mode & 0o077:
        raise ServerError(
            f"{path} holds a key and can be read by others (mode {mode:04o}); run: chmod 600 {path}"
        )
    return note


def write_note(data_dir: Path, note: ServerNote) -> None:
    """Replace the note in one step; only its owner may read it."""
    files.write_atomically(data_dir / NAME, files.json_text(asdict(note)), mode=0o600)


def login_header(key: str) -> dict[str, str]:
    """The header by which a W&B server recognises an API key: HTTP's basic scheme, user `api`."""
    return {"Authorization": f"Basic {b64encode(f'api:{key}'.encode()).decode()}"}


def write_notice(data_dir: Path, words: str) -> None:
    """What people should know about the server of a directory, in one line; empty takes it back.

    Raises OSError.
    """
    if words:
        files.write_atomically(data_dir / NOTICE, words, mode=0o600)
    else:
        (data_dir / NOTICE).unlink(missing_ok=True)


def read_notice(data_dir: Path) -> str:
    """The notice; empty when there is none."""
    try:
        return (data_dir / NOTICE).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
