"""Another W&B server, spoken to as the client speaks to it: GraphQL, file stream, uploads."""

import base64
import hashlib
import json
import netrc
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from agent.errors import ServerError
from agent.server_note import login_header

ATTEMPTS = 6
TIMEOUT_S = 60.0
_FINAL = frozenset({400, 401, 403, 404, 409, 410, 413, 422, 501})


def find_key(url: str, environment: dict[str, str] | None = None) -> str:
    """The key for a server: WANDB_API_KEY, else the entry in ~/.netrc. Raises ServerError."""
    given = (environment if environment is not None else dict(os.environ)).get("WANDB_API_KEY")
    if given:
        return given
    host = urlsplit(url).hostname or url
    try:
        entry = netrc.netrc().authenticators(host)
    except (FileNotFoundError, netrc.NetrcParseError):
        entry = None
    if entry is None or not entry[2]:
        raise ServerError(f"no key for {host}: set WANDB_API_KEY or run `wandb login --host {url}`")
    return entry[2]


@dataclass(frozen=True)
class Remote:
    """A server and a key for it."""

    url: str
    key: str = field(repr=False)

    def ask(self, document: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation. Raises ServerError with the server's own words."""
        body = json.dumps({"query": document, "variables": variables}).encode()
        answer = json.loads(self._send("POST", f"{self.url}/graphql", body, self._headers()))
        if answer.get("errors"):
            words = "; ".join(str(error.get("message")) for error in answer["errors"])
            raise ServerError(f"{self.url} refuses: {words}")
        data: dict[str, Any] = answer["data"]
        return data

    def stream(self, entity: str, project: str, run: str, part: dict[str, Any]) -> None:
        """Send one part of a run's file stream."""
        names = "/".join(quote(name, safe="") for name in (entity, project, run))
        address = f"{self.url}/files/{names}/file_stream"
        self._send("POST", address, json.dumps(part).encode(), self._headers())

    def put(self, address: str, path: Path, headers: list[str]) -> None:
        """Upload a file to an address that the server has given out."""
        if address.startswith("/"):
            address = self.url + address
        pairs = dict(header.split(":", 1) for header in headers)
        self._send("PUT", address, path.read_bytes(), pairs)

    def _headers(self) -> dict[str, str]:
        return {**login_header(self.key), "Content-Type": "application/json"}

    def _send(self, method: str, address: str, body: bytes, headers: dict[str, str]) -> bytes:
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(min(2.0**attempt / 4, 15))
            request = urllib.request.Request(address, body, headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                    return bytes(response.read())
            except urllib.error.HTTPError as error:
                problem = f"HTTP {error.code}: {error.read(300).decode('utf-8', 'replace')}"
                if error.code in _FINAL:
                    break
            except OSError as error:
                problem = str(error)
        raise ServerError(
            f"{urlsplit(address).netloc} did not take it ({problem}); run the command again, "
            "it goes on where it stopped"
        )


def md5_of(path: Path) -> str:
    """The digest in the client's form."""
    return base64.b64encode(hashlib.md5(path.read_bytes(), usedforsecurity=False).digest()).decode()
