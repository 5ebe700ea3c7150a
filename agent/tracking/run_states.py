"""What the W&B server says of runs, asked without a wandb client."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agent.tracking.paths import split_path
from agent.tracking.question import ask

PATIENCE_S = 30.0  # a server that is moved or started again is back within it
_QUESTION = """
query RunStates($entity: String, $project: String, $name: String!) {
  project(entityName: $entity, name: $project) {
    run(name: $name) { name state heartbeatAt }
  }
}
"""


@dataclass(frozen=True)
class RunState:
    """What the W&B server says of a run."""

    state: str  # running, finished, failed, crashed, killed, preempting, preempted
    silent_s: float  # since it was last heard of


def state_of(sweep: str, run_id: str, environment: Mapping[str, str]) -> str | None:
    """Of one run; None when the server does not know it. OSError or ValueError when it cannot be
    asked.
    """
    run = _find(sweep, run_id, environment)
    return str(run["state"]) if run else None


def run_states(
    sweep: str, run_ids: Sequence[str], environment: Mapping[str, str]
) -> dict[str, RunState]:
    """By run id. Runs that the server does not know are left out; empty when it cannot be asked."""
    states = {}
    for run_id in run_ids:
        try:
            run = _find(sweep, run_id, environment)
        except (OSError, ValueError):
            return {}
        if run:
            silent = silent_s(run.get("heartbeatAt"), datetime.now(UTC))
            states[run_id] = RunState(str(run["state"]), silent)
    return states


def _find(sweep: str, run_id: str, environment: Mapping[str, str]) -> dict[str, Any] | None:
    entity, project, _ = split_path(sweep)
    variables = {"entity": entity, "project": project, "name": run_id}
    found = ask(_QUESTION, variables, environment, patience_s=PATIENCE_S)
    run: dict[str, Any] | None = (found.get("project") or {}).get("run")
    return run


def silent_s(heartbeat: str | None, now: datetime) -> float:
    """Seconds since a run was last heard of; 0 when the server does not say."""
    if not heartbeat:
        return 0.0
    try:
        heard = datetime.fromisoformat(heartbeat.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (now - (heard if heard.tzinfo else heard.replace(tzinfo=UTC))).total_seconds()
