"""The full counts of the server's fault and speed claims: `python -m tests.tools.prove_server`.

Prints and returns figures; nothing is asserted here. The test suite runs the same with small
counts. `python -m tests.tools.prove_server load` (or kills, hostility, verify, …) runs one of them.
"""

import asyncio
import json
import os
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from agent.server.process import running_server
from tests.end_to_end.server_client import client_of
from tests.end_to_end.server_copies import kill_copies
from tests.end_to_end.server_hostility import be_hostile
from tests.end_to_end.server_kills import kill_under_load
from tests.end_to_end.server_load import percentile_ms, put_under_load
from tests.end_to_end.server_neighbours import measure
from tests.end_to_end.server_pages import measure_pages
from tests.end_to_end.server_pauses import measure_pauses
from tests.server.schedules import run_schedule


def prove_kills(kills: int = 100) -> dict[str, Any]:
    """The server is killed under load; what it had acknowledged must be there."""
    with tempfile.TemporaryDirectory() as folder:
        return kill_under_load(Path(folder) / "data", kills=kills)


def prove_hostility(requests: int = 2000) -> dict[str, Any]:
    """Hostile requests beside honest ones."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with running_server(data) as server:
            key = server.env["WANDB_API_KEY"]
            figures = asyncio.run(be_hostile(server.base_url, key, server.pid, requests=requests))
        figures["tracebacks"] = (data / "server.log").read_text(errors="replace").count("Traceback")
    return figures


def prove_load(agents: int = 200, duration_s: float = 90.0) -> dict[str, Any]:
    """As many agents, with one run each, at the client's own pace."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with running_server(data) as server:
            load = asyncio.run(
                put_under_load(
                    server.base_url,
                    server.env["WANDB_API_KEY"],
                    agents=agents,
                    duration_s=duration_s,
                )
            )
        with sqlite3.connect(data / "server.db") as connection:
            stored = dict(
                connection.execute(
                    "SELECT run.name, count(*) FROM stream_line JOIN run ON run.id = run_id "
                    "GROUP BY run.name"
                )
            )
    return {
        "agents": agents,
        "runs": len(load.lines_sent),
        "seconds": duration_s,
        "heartbeats": len(load.heartbeats_s),
        "heartbeat_p50_ms": round(percentile_ms(load.heartbeats_s, 0.50), 1),
        "heartbeat_p99_ms": round(percentile_ms(load.heartbeats_s, 0.99), 1),
        "posts": len(load.posts_s),
        "post_p99_ms": round(percentile_ms(load.posts_s, 0.99), 1),
        "lines": sum(load.lines_sent.values()),
        "lines_missing": sum(n - stored.get(run, 0) for run, n in load.lines_sent.items()),
        "failures": load.failures[:5],
    }


def prove_verify() -> dict[str, Any]:
    """`wandb verify`, the client's own check of a server; what it warns of."""
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder) / "data") as server:
        client = client_of(server, Path(folder) / "client")
        said = client.wandb("verify", "--host", server.base_url, timeout_s=400)
    lines = said.splitlines()
    return {
        "checks_passed": sum("✅" in line for line in lines),
        "checks_warned": [line.split("..")[0] for line in lines if "❌" in line],
    }


def prove_neighbours(seconds: float = 20.0) -> dict[str, Any]:
    """Heavy requests of one key beside the heartbeats and streams of another."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder) / "data", seconds=seconds)


def prove_copies(kills: int = 50) -> dict[str, Any]:
    """Kills inside backup, snapshot, restore and migration."""
    with tempfile.TemporaryDirectory() as folder:
        return kill_copies(Path(folder), kills)


def _schedule(seed: int) -> Counter[str] | str:
    """What happened in one schedule, or what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return run_schedule(Path(folder), seed)
        except AssertionError as error:
            return str(error)


def prove_schedules(schedules: int = 1000) -> dict[str, Any]:
    """Random schedules against the model of what must be visible to whom."""
    happened: Counter[str] = Counter()
    failures = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(_schedule, range(schedules), chunksize=10):
            if isinstance(found, str):
                failures.append(found[:500])
            else:
                happened += found
    return {
        "schedules": schedules,
        "failed": len(failures),
        "failures": failures[:3],
        "happened": dict(happened.most_common()),
    }


def prove_pages() -> dict[str, Any]:
    """Pages over 10,000 runs of 100 points."""
    with tempfile.TemporaryDirectory() as folder:
        return measure_pages(Path(folder) / "data")


PROOFS: dict[str, Callable[[], dict[str, Any]]] = {
    "kills": prove_kills,
    "hostility": prove_hostility,
    "load": prove_load,
    "verify": prove_verify,
    "neighbours": prove_neighbours,
    "copies": prove_copies,
    "schedules": prove_schedules,
    "pauses": measure_pauses,
    "pages": prove_pages,
}


def main(names: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """The figures of the named proofs, or of all."""
    figures = {}
    for name in names or PROOFS:
        figures[name] = PROOFS[name]()
        print(json.dumps({name: figures[name]}, indent=1), flush=True)
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
