"""kill -9 of the server under load: is anything that it acknowledged lost?"""

import asyncio
import json
import random
import sqlite3
import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.server.process import end_server, start_server, wait_until_ready
from tests.end_to_end.server_load import (
    CREATE_AGENT,
    HEARTBEAT,
    UPSERT_RUN,
    UPSERT_SWEEP,
    Lost,
    Peer,
)

LINES_PER_RUN = 40


@dataclass
class Acknowledged:
    """What the server has said yes to."""

    lines: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    finished: set[str] = field(default_factory=set)
    held_by: dict[str, str] = field(default_factory=dict)  # run -> agent that runs it now
    double_claims: list[str] = field(default_factory=list)
    finished_by: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    problems: list[str] = field(default_factory=list)


async def _ask(peer: Peer, path: str, body: Any) -> Any:
    """As the client does: the same request again until it is answered."""
    while True:
        try:
            status, answer = await peer.post(path, body)
        except Lost:
            await asyncio.sleep(0.05)
            continue
        if status == 429:  # agents without trainings ask more often than a key may
            await asyncio.sleep(1.0)
            continue
        if status != 200:
            raise AssertionError(f"{path}: {status} {answer}")
        return answer


async def _graphql(peer: Peer, document: str, **variables: Any) -> Any:
    answer = await _ask(peer, "/graphql", {"query": document, "variables": variables})
    if answer.get("errors"):
        raise AssertionError(answer["errors"])
    return answer["data"]


async def _agent(url: str, key: str, sweep: str, seen: Acknowledged) -> None:
    peer = Peer(url, key)
    made = await _graphql(peer, CREATE_AGENT, host="h", projectName="kills", sweep=sweep)
    agent = made["createAgent"]["agent"]["id"]
    while True:
        beat = await _graphql(peer, HEARTBEAT, id=agent, runState="{}")
        commands = json.loads(beat["agentHeartbeat"]["commands"])
        if not commands:
            await asyncio.sleep(0.1)
            continue
        if commands[0]["type"] == "exit":
            peer.close()
            return
        run = commands[0]["run_id"]
        if run in seen.held_by or run in seen.finished:
            seen.double_claims.append(run)
        seen.held_by[run] = agent
        await _live(peer, agent, sweep, run, seen)
        seen.finished_by[agent] += 1
        del seen.held_by[run]


async def _live(peer: Peer, agent: str, sweep: str, run: str, seen: Acknowledged) -> None:
    """A run from init to finish, with a heartbeat now and then."""
    await _graphql(peer, UPSERT_RUN, name=run, project="kills", sweep=sweep, host="h")
    path = f"/files/local/kills/{run}/file_stream"
    for offset in range(0, LINES_PER_RUN, 4):
        lines = [json.dumps({"_step": offset + i, "v": random.random()}) for i in range(4)]
        part = {"files": {"wandb-history.jsonl": {"offset": offset, "content": lines}}}
        await _ask(peer, path, part)
        seen.lines[run].update({offset + i: line for i, line in enumerate(lines)})
        if offset % 16 == 0:
            state = json.dumps({run: True})
            beat = await _graphql(peer, HEARTBEAT, id=agent, runState=state)
            commands = json.loads(beat["agentHeartbeat"]["commands"])
            if commands:
                seen.problems.append(f"{run}: unexpected {commands}")
        await asyncio.sleep(random.uniform(0.0, 0.1))
    await _ask(peer, path, {"complete": True, "exitcode": 0})
    seen.finished.add(run)


async def _killer(
    process: "subprocess.Popen[bytes]", data: Path, kills: int, tasks: list[asyncio.Task[None]]
) -> tuple["subprocess.Popen[bytes]", int]:
    """Kill at random moments and start again; how often it was done."""
    loop, done = asyncio.get_running_loop(), 0
    for _ in range(kills):
        await asyncio.sleep(random.uniform(0.05, 0.8))
        if all(task.done() for task in tasks):
            break
        process.kill()
        process.wait()
        process = start_server(data, 0)
        await loop.run_in_executor(None, wait_until_ready, process, data, 60.0)
        done += 1
    return process, done


async def _storm(
    process: "subprocess.Popen[bytes]",
    data: Path,
    url: str,
    key: str,
    kills: int,
    agents: int,
    points: int,
    seen: Acknowledged,
) -> tuple["subprocess.Popen[bytes]", int]:
    config = f"method: grid\nparameters: {{x: {{values: {list(range(points))}}}}}"
    starter = Peer(url, key)
    made = await _graphql(starter, UPSERT_SWEEP, config=config, projectName="kills")
    starter.close()
    name = made["upsertSweep"]["sweep"]["name"]
    tasks = [asyncio.create_task(_agent(url, key, name, seen)) for _ in range(agents)]
    process, done = await _killer(process, data, kills, tasks)
    await asyncio.gather(*tasks)
    return process, done


def kill_under_load(data: Path, *, kills: int, agents: int = 16, points: int = 0) -> dict[str, Any]:
    """Run a sweep to its end while its server is killed; figures and what was lost."""
    points = points or kills * 16 + agents  # a quick machine must not end before the last kill
    process = start_server(data, 0)
    seen = Acknowledged()
    started = time.monotonic()
    try:
        note = wait_until_ready(process, data, 60)
        storm = _storm(process, data, note.url, note.key, kills, agents, points, seen)
        process, done = asyncio.run(storm)
    finally:
        end_server(process)
    return {
        "kills": done,
        "agents": agents,
        "agents_that_finished_runs": len(seen.finished_by),
        "points": points,
        "runs_finished": len(seen.finished),
        "lines_acknowledged": sum(map(len, seen.lines.values())),
        "double_claims": len(seen.double_claims),
        "problems": seen.problems[:5],
        "seconds": round(time.monotonic() - started, 1),
        **_compare(data / "server.db", seen),
    }


def _compare(path: Path, seen: Acknowledged) -> dict[str, Any]:
    """What the file holds against what was acknowledged."""
    with sqlite3.connect(path) as connection:
        stored: dict[str, dict[int, str]] = defaultdict(dict)
        for name, number, content in connection.execute(
            "SELECT run.name, number, content FROM stream_line JOIN run ON run.id = run_id"
        ):
            stored[name][number] = content
        states = dict(connection.execute("SELECT name, state FROM run"))
        (sweep_state,) = connection.execute("SELECT state FROM sweep").fetchone()
        (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
    lost = sum(
        stored[run].get(number) != line
        for run, lines in seen.lines.items()
        for number, line in lines.items()
    )
    return {
        "lines_lost": lost,
        "finishes_lost": sum(states.get(run) != "finished" for run in seen.finished),
        "sweep_state": sweep_state,
        "integrity": integrity,
    }
