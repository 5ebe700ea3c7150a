"""`python -m agent.tracking.run_states ENTITY/PROJECT RUN…`: one JSON object of run states.

A process of its own, because a wandb client is heavy and keeps threads and sockets of its own.
"""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime


def silent_s(heartbeat: str | None, now: datetime) -> float:
    """Seconds since a run was last heard of; 0 when the server does not say."""
    if not heartbeat:
        return 0.0
    try:
        heard = datetime.fromisoformat(heartbeat.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (now - (heard if heard.tzinfo else heard.replace(tzinfo=UTC))).total_seconds()


def main(words: Sequence[str]) -> int:
    """Runs that the server does not know are left out."""
    import wandb
    from wandb.errors import CommError

    path, run_ids = words[0], words[1:]
    api = wandb.Api()
    states: dict[str, dict[str, object]] = {}
    for run_id in run_ids:
        try:
            run = api.run(f"{path}/{run_id}")
        except (ValueError, CommError):
            continue
        heard = run._attrs.get("heartbeatAt")
        states[run_id] = {"state": run.state, "silent_s": silent_s(heard, datetime.now(UTC))}
    print(json.dumps(states))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
