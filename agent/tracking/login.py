"""Whether a server knows a key, without a wandb client: a question of one second."""

import json
import netrc
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from agent.server_note import login_header
from agent.tracking.credentials import ENVIRONMENT_NAME

CLOUD = "https://api.wandb.ai"
TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Login:
    """`problem` is empty when the server knows the key; `is_reachable`: whether it answered."""

    url: str
    source: str  # where the key comes from, in words
    problem: str = ""
    is_reachable: bool = True


def key_of(environment: Mapping[str, str], home: Path) -> tuple[str, str]:
    """The key that a wandb client started with this environment uses, and where it lies; empty
    when there is none for this server's host.
    """
    if environment.get(ENVIRONMENT_NAME):
        return environment[ENVIRONMENT_NAME], ENVIRONMENT_NAME
    host = urlsplit(environment.get("WANDB_BASE_URL") or CLOUD).hostname or ""
    path = Path(environment.get("NETRC") or home / ".netrc")
    try:
        found = netrc.netrc(str(path)).hosts.get(host)
    except (OSError, netrc.NetrcParseError):
        return "", str(path)
    return (found[2] or "" if found else ""), str(path)


def check_login(environment: Mapping[str, str], home: Path) -> Login:
    """Ask the server who the key belongs to."""
    url = (environment.get("WANDB_BASE_URL") or CLOUD).rstrip("/")
    key, source = key_of(environment, home)
    if not key:
        host = urlsplit(url).hostname
        return Login(
            url,
            source,
            f"there is no key for {host} in {source}: run `wandb login` or name a --key-file; a "
            "key that is only exported does not reach a job",
        )
    question = json.dumps({"query": "query Viewer { viewer { id username } }"}).encode()
    headers = {**login_header(key), "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/graphql", question, headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            viewer = (json.load(response).get("data") or {}).get("viewer")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return Login(url, source, _refused(url, source))
        return Login(url, source, f"{url} answers {error.code}", is_reachable=False)
    except (OSError, ValueError, AttributeError) as error:
        reason = getattr(error, "reason", None) or error
        return Login(url, source, f"{url} does not answer: {reason}", is_reachable=False)
    return Login(url, source, "" if viewer else _refused(url, source))


def _refused(url: str, source: str) -> str:
    return f"{url} refuses the key in {source}: it was revoked or is another server's; log in anew"
