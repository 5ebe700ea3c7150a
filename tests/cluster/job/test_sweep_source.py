"""A task asks for its first point before it starts an agent."""

import io
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import Any

import pytest

from agent.cluster.job.workload import AgentWork
from agent.tracking.first_commands import ON_INPUT, FirstCommands, Newcomer
from agent.tracking.run_states import RunState
from tests.cluster.job.stage import Stage, step_until

EXIT = {"type": "exit"}
RUN = {"type": "run", "run_id": "a", "args": {}}


@pytest.fixture
def stage(tmp_path: Any) -> Stage:
    return Stage(tmp_path)


class Server:
    """Answers with one list of commands after the other, or raises."""

    def __init__(self, *answers: list[dict[str, Any]] | Exception) -> None:
        self._answers = list(answers)
        self.newcomers: list[Newcomer] = []

    def ask(self, newcomer: Newcomer) -> FirstCommands:
        self.newcomers.append(newcomer)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return FirstCommands("agent-7", answer)


def test_no_agent_is_started_where_the_server_has_no_work(stage: Stage) -> None:
    """Each sweep is asked in the same step, and the task is through."""
    server = Server([EXIT], [EXIT])
    worker = stage.worker("e/p/one", "e/p/two", ask=server.ask)
    worker.step(time.time())
    assert (worker.done, worker.pid, worker.failed) == (True, None, [])
    assert stage.said == [
        "e/p/one has no grid point for one more agent",
        "e/p/two has no grid point for one more agent",
    ]


def test_the_agent_goes_on_from_the_commands_that_the_task_was_given(stage: Stage) -> None:
    server = Server([], [], [RUN])
    stage.runs = {"e/p/one": ("a",)}
    stage.states = {"a": RunState("finished", 0)}
    given: list[FirstCommands | None] = []
    agent_work = stage.agent_work

    def note(sweep: str, first: FirstCommands | None = None) -> Any:
        given.append(first)
        return agent_work(sweep, first)

    stage.agent_work = note  # type: ignore[method-assign]  # to see what it is called with
    worker = stage.worker("e/p/one", ask=server.ask)
    clock = time.time()
    for second in range(10):
        worker.step(clock + second)
        assert worker.pid is None
    assert len(server.newcomers) == 2  # every 5 s
    step_until(worker, lambda: worker.done, ahead_s=1)
    assert given == [FirstCommands("agent-7", [RUN])]
    assert len(set(server.newcomers)) == 1  # the agent that has registered
    assert stage.log == ["a started", "a finished"]


def test_a_task_that_is_given_nothing_leaves_after_its_idle_limit(stage: Stage) -> None:
    server = Server(*[[]] * 1000)
    worker = stage.worker("e/p/one", "e/p/two", ask=server.ask)
    clock = time.time()
    for second in range(400):
        worker.step(clock + second)
    assert worker.done
    assert stage.said == [
        "e/p/one has had no grid point for 30 s; leaving it",  # another sweep may have one
        "e/p/two has had no grid point for 120 s; leaving it",
    ]


def test_a_server_that_is_away_for_the_first_question_is_asked_again(stage: Stage) -> None:
    """As the same agent: an answer that was lost may have held a point for it."""
    server = Server(OSError("http://s does not answer: refused"), [EXIT])
    worker = stage.worker("e/p/one", ask=server.ask)
    step_until(worker, lambda: worker.done, ahead_s=1)
    assert worker.failed == []
    assert stage.said[0] == "worker 0: cannot start: http://s does not answer: refused"
    assert len(set(server.newcomers)) == 1


@pytest.mark.parametrize("fault", [ValueError("no data"), KeyError("agent"), TypeError("null")])
def test_wandbs_agent_finds_out_what_an_odd_answer_means(stage: Stage, fault: Exception) -> None:
    stage.runs = {"e/p/one": ("a",)}
    stage.states = {"a": RunState("finished", 0)}
    worker = stage.worker("e/p/one", ask=Server(fault).ask)
    step_until(worker, lambda: worker.done)
    assert stage.log == ["a started", "a finished"]


def test_a_point_that_was_not_begun_when_its_agent_had_to_end_is_handed_back(stage: Stage) -> None:
    stage.runs = {"e/p/one": (), "e/p/two": ("a",)}
    stage.states = {"a": RunState("running", 0)}
    stage.variables = {"AGENT_IDLES": "1", "POINT_S": "30"}
    early = stage.worker("e/p/one", ask=Server([RUN]).ask)
    early.step(time.time())
    stage.supervise(early, signal.SIGUSR1)
    assert stage.handed_back == ["agent-7"]
    late = stage.worker("e/p/two", ask=Server([RUN]).ask)
    step_until(late, lambda: bool(late.running_grid_points()))
    stage.supervise(late, signal.SIGUSR1)
    assert stage.handed_back == ["agent-7"]


def test_an_agent_reads_its_commands_on_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Started:
        def __init__(self, words: list[str], *, env: Mapping[str, str], stdin: int) -> None:
            self.words, self.stdin = words, io.BytesIO()
            self.stdin.close = lambda: None  # type: ignore[method-assign]  # to read it

    monkeypatch.setattr(subprocess, "Popen", Started)
    first = FirstCommands("agent-7", [RUN])
    started: Any = AgentWork("e/p/s", {}, first).start()
    assert started.words[-4:] == [ON_INPUT, "agent", "--forward-signals", "e/p/s"]
    assert FirstCommands.from_json(started.stdin.getvalue().decode()) == first
    asks_itself: Any = AgentWork("e/p/s", {}).start()
    assert ON_INPUT not in asks_itself.words
