"""A sweep's agent registers and asks for its first command without a wandb client.

The client's import takes a second of a core and more. An array whose tasks outnumber the points
pays it only where there is work: the others hear `exit` and leave. Sent are the same two mutations
as wandb's agent sends, so the agent that this one becomes goes on under the same id.
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from agent.tracking.paths import split_path
from agent.tracking.question import ask

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
_LEAVE = "mutation Leave($id: ID!) { leaveSweep(input: {id: $id}) { agent { id } } }"
# An answer that was lost on its way holds a point: the same agent asks again and is given the same.
LOST_ANSWER_S = 60.0
ON_INPUT = "--first-commands-on-input"  # of the agent's program: where another process has asked


@dataclass(frozen=True)
class FirstCommands:
    """What the server wants of a new agent, as wandb's agent reads it; nothing yet when empty."""

    agent_id: str
    commands: list[dict[str, Any]]

    @property
    def is_exit(self) -> bool:
        """True when there is nothing to do but to leave."""
        return bool(self.commands) and all(each.get("type") == "exit" for each in self.commands)

    def to_json(self) -> str:
        return json.dumps({"agent_id": self.agent_id, "commands": self.commands})

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


def hand_back(agent_id: str, environment: Mapping[str, str]) -> None:
    """Say that the agent has ended before its first run began. Where a server does not take note,
    as W&B's own does not, the point is free after its lease.
    """
    with contextlib.suppress(OSError, ValueError):
        ask(_LEAVE, {"id": agent_id}, environment)


class Newcomer:
    """An agent of ENTITY/PROJECT/SWEEP that registers with its first question."""

    def __init__(self, sweep: str) -> None:
        self._entity, self._project, self._name = split_path(sweep)
        self._agent_id = ""

    def ask(self, environment: Mapping[str, str], *, patience_s: float = 0.0) -> FirstCommands:
        """What there is to do; asked again for `patience_s` where the server is away. OSError
        when it stays away. ValueError, KeyError or TypeError where it answers otherwise than it
        does to wandb's agent.
        """
        if not self._agent_id:
            variables = {
                "host": socket.gethostname(),
                "project": self._project,
                "entity": self._entity,
                "sweep": self._name,
            }
            created = ask(_REGISTER, variables, environment)
            self._agent_id = str(created["createAgent"]["agent"]["id"])
        beat = {"id": self._agent_id, "metrics": "{}", "runState": "{}"}
        answer = ask(_HEARTBEAT, beat, environment, patience_s=patience_s)
        return FirstCommands(self._agent_id, json.loads(answer["agentHeartbeat"]["commands"]))


def first_commands(
    sweep: str,
    environment: Mapping[str, str],
    *,
    every_s: float,
    sleep: Callable[[float], None] = time.sleep,
) -> FirstCommands:
    """Ask every `every_s` seconds until there is a command. The errors of `Newcomer.ask`, and
    TrackingError for a sweep without its path.
    """
    newcomer = Newcomer(sweep)
    while True:
        found = newcomer.ask(environment, patience_s=LOST_ANSWER_S)
        if found.commands:
            return found
        sleep(every_s)
