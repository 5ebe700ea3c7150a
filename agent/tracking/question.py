"""One question to a W&B server, without a wandb client, whose import alone takes seconds."""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.server_note import login_header
from agent.tracking.login import CLOUD, TIMEOUT_S, key_of

AGAIN_S = 1.0
_PASSING = (429, 500, 502, 503, 504)  # answers of a server that may be well in a moment


def ask(
    question: str,
    variables: Mapping[str, object],
    environment: Mapping[str, str],
    *,
    patience_s: float = 0.0,
) -> dict[str, Any]:
    """The answer's `data`. OSError when the server is away, after it was asked again for
    `patience_s`; ValueError when it answers otherwise. `environment` is that of a wandb client.
    """
    url = (environment.get("WANDB_BASE_URL") or CLOUD).rstrip("/")
    key, _ = key_of(environment, Path.home())
    headers = {**login_header(key), "Content-Type": "application/json"}
    body = json.dumps({"query": question, "variables": variables}).encode()
    until = time.monotonic() + patience_s
    while True:
        try:
            request = urllib.request.Request(f"{url}/graphql", body, headers)
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                data = json.load(response).get("data")
            if not isinstance(data, dict):
                raise ValueError(f"{url} gave no data")
            return data
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code not in _PASSING:
                raise ValueError(f"{url} answers {error.code}") from None
            if time.monotonic() + AGAIN_S > until:
                raise OSError(f"{url} does not answer: {error}") from None
            time.sleep(AGAIN_S)
