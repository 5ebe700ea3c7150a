"""Small counts of what `tests/tools/prove_server.py` does in full."""

import asyncio
import sqlite3
from pathlib import Path

from agent.server.process import running_server
from tests.end_to_end.server_hostility import be_hostile
from tests.end_to_end.server_kills import kill_under_load
from tests.end_to_end.server_load import put_under_load
from tests.end_to_end.server_pauses import stop_really


def test_a_killed_server_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    found = kill_under_load(tmp_path / "data", kills=3, agents=6)
    assert found["kills"] == 3
    assert found["lines_lost"] == found["finishes_lost"] == found["double_claims"] == 0
    assert found["problems"] == []
    assert found["runs_finished"] == found["points"]
    assert found["agents_that_finished_runs"] == found["agents"]
    assert (found["sweep_state"], found["integrity"]) == ("FINISHED", "ok")


def test_hostile_requests_change_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_server(data) as server:
        key = server.env["WANDB_API_KEY"]
        found = asyncio.run(be_hostile(server.base_url, key, server.pid, requests=170))
    assert found["server_errors"] == found["honest_lost"] == 0
    assert found["leaks"] == []
    assert found["honest_requests"] > 0
    assert "Traceback" not in (data / "server.log").read_text()


def test_the_history_of_runs_under_load_is_whole(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_server(data) as server:
        load = asyncio.run(
            put_under_load(
                server.base_url,
                server.env["WANDB_API_KEY"],
                agents=10,
                duration_s=3,
                heartbeat_s=0.3,
                post_s=0.5,
                metrics=20,
            )
        )
    assert load.failures == []
    assert len(load.lines_sent) == 10
    with sqlite3.connect(data / "server.db") as connection:
        (count,) = connection.execute("SELECT count(*) FROM stream_line").fetchone()
    assert count == sum(load.lines_sent.values())


def test_a_server_that_was_stopped_takes_no_live_run_away(tmp_path: Path) -> None:
    assert stop_really(tmp_path / "data", pauses=1, seed=1) == []
