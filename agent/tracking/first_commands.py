"""A sweep's agent registers and asks for its first command without a wandb client.

The client's import takes a second of a core and more. An array whose tasks outnumber the points
pays it only where there is work: the others hear `exit` and leave. Sent are the same two mutations
as wandb's agent sends, so the agent that this one becomes goes on under the same id.
"""

import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.tracking.paths import split_path
from agent.tracking.question import ask

# An answer that was lost on its way holds a point: the same agent asks again and is given the same.
LOST_ANSWER_S = 60.0
_REGISTER = """
mutation CreateAgent($host: String!, $project: String, $entity: String, $sweep: String!) {
  createAgent(
    input: {host: $host, projectName: $project, entityName: $entity, sweep: $sweep}
  ) { agent { id } }
}
"""
_HEARTBEAT = """
mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) {
    agent { id }
    commands
  }
}
"""


@dataclass(frozen=True)
class FirstCommands:
    """What the server wants of a new agent, as wandb's agent reads it."""

    agent_id: str
    commands: list[dict[str, Any]]

    @property
    def is_exit(self) -> bool:
        """True when there is nothing to do but to leave."""
        return all(command.get("type") == "exit" for command in self.commands)


def first_commands(
    sweep: str,
    environment: Mapping[str, str],
    *,
    every_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> FirstCommands:
    """Register for ENTITY/PROJECT/SWEEP and ask every `every_s` seconds until there is a command.
    OSError, ValueError, KeyError, TypeError or TrackingError where the server answers otherwise
    than it does to wandb's agent.
    """
    entity, project, name = split_path(sweep)
    host = socket.gethostname()
    variables = {"host": host, "project": project, "entity": entity, "sweep": name}
    agent_id = str(ask(_REGISTER, variables, environment)["createAgent"]["agent"]["id"])
    while True:
        beat = {"id": agent_id, "metrics": "{}", "runState": "{}"}
        answer = ask(_HEARTBEAT, beat, environment, patience_s=LOST_ANSWER_S)
        commands = json.loads(answer["agentHeartbeat"]["commands"])
        if commands:
            return FirstCommands(agent_id, commands)
        sleep(every_s)
