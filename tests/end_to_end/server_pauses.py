"""A server that is stopped (SIGSTOP) while agents live, and one whose clocks are turned."""

import json
import os
import random
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from agent.server.process import ServerAddress, running_server
from agent.server.store.claims import Policy
from tests.end_to_end.server_load import CREATE_AGENT, HEARTBEAT, UPSERT_RUN, UPSERT_SWEEP
from tests.end_to_end.server_neighbours import ask
from tests.server.server_lab import Lab
from tests.server.test_pauses import Times, states_after

SIMULATED_S = (*range(10, 601, 20), *(sign * s for s in range(600, 7201, 660) for sign in (1, -1)))
PATIENCE_S = 4
OPTIONS = ("--lease-s", str(PATIENCE_S), "--silence-s", str(PATIENCE_S), "--settle-s", "1")
SWEEP = "{method: grid, parameters: {x: {values: [1]}}}"


def stop_really(data: Path, pauses: int, seed: int) -> list[str]:
    """One server, stopped again and again for longer than its patience; what went wrong."""
    chance, problems = random.Random(seed), []
    with running_server(data, options=OPTIONS) as server:
        made = ask(server, UPSERT_SWEEP, config=SWEEP, projectName="p")
        sweep = made["upsertSweep"]["sweep"]["name"]
        agent = _agent(server, sweep)
        (command,) = _beat(server, agent)
        run = command["run_id"]
        ask(server, UPSERT_RUN, name=run, project="p", sweep=sweep, host="h")
        for _ in range(pauses):
            _beat(server, agent, run)
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(chance.uniform(PATIENCE_S + 1, 2.5 * PATIENCE_S))
            os.kill(server.pid, signal.SIGCONT)
            time.sleep(chance.choice((0, 0, 0.5, 2.5)))  # upkeep may come first
            commands = _beat(server, _agent(server, sweep))
            if any(command["type"] == "run" for command in commands):
                problems.append(f"handed out twice: {commands}")
            for _ in range(4):
                if commands := _beat(server, agent, run):
                    problems.append(f"its owner was given: {commands}")
                time.sleep(1)
    return problems


def _agent(server: ServerAddress, sweep: str) -> str:
    made = ask(server, CREATE_AGENT, host="h", projectName="p", sweep=sweep)
    return str(made["createAgent"]["agent"]["id"])


def _beat(server: ServerAddress, agent: str, *running: str) -> list[dict[str, Any]]:
    state = json.dumps(dict.fromkeys(running, True))
    beat = ask(server, HEARTBEAT, id=agent, runState=state)["agentHeartbeat"]
    commands: list[dict[str, Any]] = json.loads(beat["commands"])
    return commands


def turn_clocks(root: Path) -> list[str]:
    """Stopped for 10 to 600 s, or the wall clock set by up to two hours: what went wrong."""
    problems = []
    for number, seconds in enumerate(SIMULATED_S):
        place = root / str(number)
        place.mkdir()
        lab = Lab(place, Policy())
        try:
            states_after(lab, Times(), seconds, lived=seconds if 0 < seconds <= 600 else 0.5)
        except AssertionError as error:
            problems.append(f"{seconds} s: {error}")
        finally:
            lab.close()
    return problems


def measure_pauses(servers: int = 5, pauses: int = 10) -> dict[str, Any]:
    """Figures of both."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(servers) as pool:
        found = pool.map(
            lambda n: stop_really(Path(folder) / f"server{n}", pauses, n), range(servers)
        )
        stopped = [problem for problems in found for problem in problems]
        turned = turn_clocks(Path(folder))
    return {
        "stopped": servers * pauses,
        "stopped_wrong": len(stopped),
        "clocks_turned": len(SIMULATED_S),
        "clocks_turned_wrong": len(turned),
        "problems": [*stopped, *turned][:3],
    }
