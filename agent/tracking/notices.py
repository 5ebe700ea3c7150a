"""Telling the user that the sweeps have ended: what the server says of them, and a webhook."""

import contextlib
import json
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

from agent.errors import ClusterError
from agent.tracking.credentials import read_private_word
from agent.tracking.login import TIMEOUT_S
from agent.tracking.paths import split_path
from agent.tracking.question import ask

_QUESTION = """query Sweep($entity: String, $project: String, $name: String!) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $name) { name state } }
}"""


def sweep_states(sweeps: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """State by ENTITY/PROJECT/SWEEP; those are left out whose state the server does not give."""
    states = {}
    for path in sweeps:
        entity, project, name = split_path(path)
        variables = {"entity": entity, "project": project, "name": name}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = ask(_QUESTION, variables, environment)
            states[path] = str(found["project"]["sweep"]["state"]).upper()
    return states


def notice_url(given: str) -> str:
    """The URL of --notify: given itself, or as a file that holds it, since its path is often a
    secret. ClusterError when others can read the file or it holds no URL.
    """
    if not given.startswith("/"):
        return given
    subject = f"notify = {given}:"
    url = read_private_word(Path(given), subject, "URL", written="the URL")
    if not url.startswith(("http://", "https://")):
        raise ClusterError(f"{subject} must hold one URL and nothing else")
    return url


def post_notice(url: str, content: Mapping[str, object]) -> str:
    """POST the notice as JSON, with a `text` that chat services show; what came of it, in words."""
    sweeps = content.get("sweeps")
    names = ", ".join(f"{n} {s}" for n, s in sweeps.items()) if isinstance(sweeps, Mapping) else ""
    body = json.dumps({"text": f"sweeps have ended: {names}", **content}).encode()
    headers = {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return "the end was posted to the URL of --notify"
    except (OSError, ValueError) as error:  # never the URL: its path is often a secret
        reason = getattr(error, "reason", None) or error
        return f"nothing could be posted to the URL of --notify: {reason}"
