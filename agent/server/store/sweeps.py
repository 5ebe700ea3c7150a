"""Sweeps and their agents: found, listed, made, changed."""

import secrets
import string
from functools import lru_cache
from typing import Any

from agent.config import sweep_config
from agent.config.sweep_config import SweepConfig
from agent.server.refusals import Refused
from agent.server.store.database import Connection, insert, update
from agent.server.store.records import Agent, Page, Project, Sweep

STATES = ("PENDING", "RUNNING", "PAUSED", "FINISHED", "CANCELED")
_NAME_ALPHABET = string.ascii_lowercase + string.digits


def short_name() -> str:
    """Eight random characters, as W&B names sweeps and runs."""
    return "".join(secrets.choice(_NAME_ALPHABET) for _ in range(8))


@lru_cache(maxsize=32)
def config_of(text: str) -> SweepConfig:
    """The config of a stored sweep (configs are few and never change in place)."""
    return sweep_config.parse_accepted(text)


def find_sweep(connection: Connection, project_id: int, name: str) -> Sweep | None:
    row = connection.execute(
        "SELECT * FROM sweep WHERE project_id = ? AND name = ?", (project_id, name)
    ).fetchone()
    return Sweep.maybe(row)


def get_sweep(connection: Connection, sweep_id: int | None) -> Sweep | None:
    row = connection.execute("SELECT * FROM sweep WHERE id = ?", (sweep_id,)).fetchone()
    return Sweep.maybe(row)


def list_sweeps(
    connection: Connection, project_id: int, offset: int = 0, limit: int = 50
) -> Page[Sweep]:
    rows = connection.execute(
        "SELECT * FROM sweep WHERE project_id = ? ORDER BY id DESC LIMIT ? OFFSET ?",
        (project_id, limit, offset),
    )
    items = [Sweep.of(row) for row in rows]
    total = connection.execute(
        "SELECT count(*) FROM sweep WHERE project_id = ?", (project_id,)
    ).fetchone()[0]
    return Page(items, total, offset)


def create_sweep(
    connection: Connection, project: Project, config: str, now: float, **columns: Any
) -> Sweep:
    """A new sweep, pending until its first agent comes.

    Raises ConfigError with every violation of its config.
    """
    sweep_config.parse(config)
    sweep_id = insert(
        connection,
        "sweep",
        project_id=project.id,
        name=short_name(),
        config=config,
        state="PENDING",
        created_at=now,
        updated_at=now,
        **columns,
    )
    sweep = get_sweep(connection, sweep_id)
    assert sweep is not None
    return sweep


def change_sweep(connection: Connection, sweep: Sweep, now: float, **columns: Any) -> Sweep:
    """The sweep after the change."""
    if "config" in columns and columns["config"] != sweep.config:
        sweep_config.parse(columns["config"])
        columns |= {"next_index": 0, "exhausted": 0}
    update(connection, "sweep", sweep.id, updated_at=now, **columns)
    changed = get_sweep(connection, sweep.id)
    assert changed is not None
    return changed


def set_state(connection: Connection, sweep: Sweep, state: str, now: float) -> Sweep:
    """Start, pause, stop (FINISHED) or cancel a sweep; cancelling also stops its live runs."""
    if state not in STATES:
        raise Refused(f"sweep state {state!r} is not one of {', '.join(STATES)}")
    if state == "CANCELED":
        connection.execute(
            "UPDATE run SET stop_requested = 'person' WHERE sweep_id = ? "
            "AND state IN ('running', 'pending')",
            (sweep.id,),
        )
        connection.execute(
            "UPDATE point SET status = 'done' WHERE sweep_id = ? AND status = 'open'", (sweep.id,)
        )
    changes: dict[str, Any] = {"state": state}
    if state == "RUNNING":
        changes["exhausted"] = 0
    return change_sweep(connection, sweep, now, **changes)


def create_agent(connection: Connection, sweep: Sweep, host: str, now: float) -> Agent:
    agent_id = insert(
        connection,
        "agent",
        sweep_id=sweep.id,
        name=short_name(),
        host=host[:200],
        state="RUNNING",
        created_at=now,
        heartbeat_at=now,
    )
    connection.execute(
        "UPDATE sweep SET state = 'RUNNING' WHERE id = ? AND state = 'PENDING'", (sweep.id,)
    )
    agent = get_agent(connection, agent_id)
    assert agent is not None
    return agent


def get_agent(connection: Connection, agent_id: int | None) -> Agent | None:
    row = connection.execute("SELECT * FROM agent WHERE id = ?", (agent_id,)).fetchone()
    return Agent.maybe(row)


def find_agent(connection: Connection, sweep_id: int, name: str) -> Agent | None:
    row = connection.execute(
        "SELECT * FROM agent WHERE sweep_id = ? AND name = ?", (sweep_id, name)
    ).fetchone()
    return Agent.maybe(row)


def list_agents(connection: Connection, sweep_id: int) -> list[Agent]:
    rows = connection.execute("SELECT * FROM agent WHERE sweep_id = ? ORDER BY id", (sweep_id,))
    return [Agent.of(row) for row in rows]
