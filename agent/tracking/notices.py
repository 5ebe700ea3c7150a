"""Telling the user that the sweeps have ended: what the server says of them, and a webhook."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

from agent.tracking.login import CLOUD, TIMEOUT_S, key_of
from agent.tracking.paths import split_path

_QUESTION = """query Sweep($entity: String, $project: String, $name: String!) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $name) { name state } }
}"""


def sweep_states(sweeps: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """State by ENTITY/PROJECT/SWEEP; those are left out whose state the server does not give."""
    url = (environment.get("WANDB_BASE_URL") or CLOUD).rstrip("/")
    word = base64.b64encode(f"api:{key_of(environment, Path.home())[0]}".encode()).decode()
    headers = {"Authorization": f"Basic {word}", "Content-Type": "application/json"}
    states = {}
    for path in sweeps:
        entity, project, name = split_path(path)
        variables = {"entity": entity, "project": project, "name": name}
        body = json.dumps({"query": _QUESTION, "variables": variables}).encode()
        try:
            request = urllib.request.Request(f"{url}/graphql", body, headers)
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                found = json.load(response)
            states[path] = str(found["data"]["project"]["sweep"]["state"]).upper()
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return states


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
