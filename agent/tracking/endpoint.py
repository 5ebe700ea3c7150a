"""How a compute node finds the W&B server: W&B's cloud, an address, or a server's data directory.

A server that runs as a job writes its address anew whenever it is moved to another node, so its
note is read again before every start of an agent.
"""

import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from agent import server_note
from agent.errors import ClusterError, ServerError
from agent.server_note import ServerNote
from agent.tracking.credentials import ENVIRONMENT_NAME, with_key
from agent.tracking.login import Login, check_login

NOTICE_TIMEOUT_S = 5.0
LOOK_EVERY_S = 5.0


@dataclass(frozen=True)
class ServerAccess:
    """At most one of `base_url` and `server_data`; neither means W&B's cloud."""

    base_url: str | None = None
    server_data: Path | None = None
    key_file: Path | None = None

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` with what the wandb client needs. ClusterError when it cannot be read."""
        environment = with_key(base, self.key_file)
        if self.base_url:
            environment["WANDB_BASE_URL"] = self.base_url
        if self.server_data:
            note = read_note(self.server_data)
            environment |= {"WANDB_BASE_URL": note.url, "WANDB_ENTITY": note.entity}
            if self.key_file is None:
                environment[ENVIRONMENT_NAME] = note.key
        return environment

    def login(self, base: Mapping[str, str]) -> Login:
        """Whether the server answers now and knows the key."""
        try:
            return check_login(self.environment(base), Path.home())
        except ClusterError as error:  # its note is gone, as between two lives of its job
            return Login("", "", str(error), is_reachable=False)

    def check_key(self, base: Mapping[str, str]) -> None:
        """ClusterError for a key that is missing or refused: an agent would be started six times.
        A server that is not there (yet) is waited for instead.
        """
        if self.server_data is None:
            self.environment(base)  # a key file that cannot be read; else the note has the key
        login = self.login(base)
        if login.problem and login.is_reachable:
            raise ClusterError(login.problem)

    @property
    def hands_out_crashed(self) -> bool:
        """The embedded server gives crashed grid points to the next agent; W&B does not."""
        if self.server_data:
            return True
        host = urlsplit(self.base_url or "https://api.wandb.ai").hostname or ""
        return not host.endswith("wandb.ai")


class AddressWatch:
    """Notices when the server behind a data directory has moved to another address."""

    def __init__(self, server_data: Path | None) -> None:
        self._server_data = server_data
        self._known = self._address()
        self._looked_at = time.monotonic()

    def has_moved(self) -> bool:
        """True once for every move. Looks every few seconds only."""
        if self._server_data is None or time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return False
        self._looked_at = time.monotonic()
        before, self._known = self._known, self._address() or self._known
        return bool(before) and before != self._known

    def _address(self) -> str:
        """Empty while there is none to read, as between two lives of the server's job."""
        if self._server_data is None:
            return ""
        try:
            return read_note(self._server_data).url
        except ClusterError:
            return ""


def read_note(directory: Path) -> ServerNote:
    """Where the server whose data lie in `directory` listens. ClusterError when it is not known."""
    try:
        note = server_note.read_note(directory)
    except ServerError as error:
        raise ClusterError(str(error)) from None
    if note is None:
        raise ClusterError(
            f"there is no {directory / server_note.NAME}: is `sweep-agent serve --data "
            f"{directory}` running?"
        )
    return note


def server_notice(server_data: Path | None) -> str:
    """What the embedded server says of its own state, such as a snapshot that fails; empty when
    all is well, or when it cannot be asked."""
    try:
        note = server_note.read_note(server_data) if server_data else None
        if note is None:
            return ""
        address = f"{note.url}/notice"
        request = urllib.request.Request(address, headers=server_note.login_header(note.key))
        with urllib.request.urlopen(request, timeout=NOTICE_TIMEOUT_S) as answer:
            return str(json.load(answer)["notice"])
    except (ServerError, OSError, ValueError, KeyError, TypeError):
        return ""
