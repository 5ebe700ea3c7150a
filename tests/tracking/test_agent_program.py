"""What an agent asks before it loads wandb, and when it leaves the asking to wandb."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from agent.tracking import agent_program, first_commands
from agent.tracking.first_commands import FirstCommands

OWN = "http://127.0.0.1:9"
RUN = {"type": "run", "run_id": "a1", "args": {}}


class Server:
    """Answers heartbeats with what it is given, one after the other."""

    def __init__(self, *answers: list[dict[str, Any]]) -> None:
        self._answers = list(answers)
        self.asked: list[dict[str, object]] = []

    def ask(
        self,
        question: str,
        variables: dict[str, object],
        _environment: Mapping[str, str],
        *,
        patience_s: float = 0.0,
    ) -> dict[str, Any]:
        assert (patience_s > 0) == ("Heartbeat" in question)  # a lost answer may hold a point
        self.asked.append(variables)
        if "createAgent" in question:
            return {"createAgent": {"agent": {"id": "agent-7"}}}
        return {"agentHeartbeat": {"commands": json.dumps(self._answers.pop(0))}}


def test_an_agent_registers_once_and_asks_until_there_is_a_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server([], [], [RUN])
    slept: list[float] = []
    monkeypatch.setattr(first_commands, "ask", server.ask)
    found = first_commands.first_commands("e/p/s", {}, every_s=5, sleep=slept.append)
    assert (found, found.is_exit) == (FirstCommands("agent-7", [RUN]), False)
    assert slept == [5, 5]
    names = [
        (asked.get("entity"), asked.get("project"), asked.get("sweep")) for asked in server.asked
    ]
    assert names == [("e", "p", "s"), *[(None, None, None)] * 3]
    assert {asked["id"] for asked in server.asked[1:]} == {"agent-7"}


def test_exit_is_all_that_a_server_without_work_says() -> None:
    assert FirstCommands("a", [{"type": "exit"}]).is_exit
    assert not FirstCommands("a", [{"type": "stop", "run_id": "x"}, {"type": "exit"}]).is_exit


@pytest.mark.parametrize(
    "fault", [OSError("away"), ValueError("no data"), KeyError("agent"), TypeError("null")]
)
def test_wandb_asks_where_the_server_answers_otherwise(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_words: object, **_names: object) -> dict[str, Any]:
        raise fault

    monkeypatch.setenv("WANDB_BASE_URL", OWN)
    monkeypatch.setattr(first_commands, "ask", fail)
    assert agent_program.ask_before_wandb("e/p/s") is None
    assert agent_program.ask_before_wandb("3") is None  # `agent SWEEP --count 3`


@pytest.mark.parametrize("address", ["", "https://api.wandb.ai", "https://lab.wandb.ai/"])
def test_wandb_asks_its_own_cloud(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """There a point whose agent ended before its run began is not handed out again."""
    server = Server([RUN])
    monkeypatch.setattr(first_commands, "ask", server.ask)
    monkeypatch.setenv("WANDB_BASE_URL", address)
    assert agent_program.ask_before_wandb("e/p/s") is None
    assert server.asked == []
    monkeypatch.setenv("WANDB_BASE_URL", OWN)
    assert agent_program.ask_before_wandb("e/p/s") == FirstCommands("agent-7", [RUN])
