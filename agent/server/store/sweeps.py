"""Sweeps and their agents: found, listed, made, changed."""

import json
import secrets
import string
from functools import lru_cache
from typing import Any

from agent.server.refusals import Refused
from agent.server.store.database import Connection, insert, update
from agent.server.store.records import Agent, Page, Project, Run, Sweep
from agent.server.store.sampling import value_at
from agent.server.store.sweep_config import SweepConfig, parse_sweep

STATES = ("PENDING", "RUNNING", "PAUSED", "FINISHED", "CANCELED")
_NAME_ALPHABET = string.ascii_lowercase + string.digits


def short_name() -> str:
    """Eight random characters, as W&B names sweeps and runs."""
    return "".join(secrets.choice(_NAME_ALPHABET) for _ in range(8))


@lru_cache(maxsize=64)
def config_of(text: str) -> SweepConfig:
    """The parsed config (configs are few and never change in place)."""
    return parse_sweep(text)


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
    config_of(config)
    sweep_id = insert(
        connection, "sweep", project_id=project.id, name=short_name(), config=config,
        state="PENDING", created_at=now, updated_at=now, **columns,
    )  # fmt: skip
    sweep = get_sweep(connection, sweep_id)
    assert sweep is not None
    return sweep


def change_sweep(connection: Connection, sweep: Sweep, now: float, **columns: Any) -> Sweep:
    """The sweep after the change."""
    if "config" in columns and columns["config"] != sweep.config:
        config_of(columns["config"])
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


def metric_value(run: Run, metric: str | None) -> float | None:
    """The run's metric as a number, None if it has none (yet)."""
    if metric is None:
        return None
    value = value_at(json.loads(run.summary), metric)
    if isinstance(value, dict):  # define_metric(summary="min") keeps {"min": …}
        value = next((value[key] for key in ("min", "max", "best", "last") if key in value), None)
    return float(value) if isinstance(value, int | float) and value == value else None


def best_value(connection: Connection, sweep: Sweep) -> float | None:
    """The best metric over the sweep's runs."""
    config = config_of(sweep.config)
    rows = connection.execute("SELECT * FROM run WHERE sweep_id = ?", (sweep.id,))
    values = [metric_value(Run.of(row), config.metric) for row in rows]
    known = [value for value in values if value is not None]
    if not known:
        return None
    return max(known) if config.goal == "maximize" else min(known)


def create_agent(connection: Connection, sweep: Sweep, host: str, now: float) -> Agent:
    agent_id = insert(
        connection, "agent", sweep_id=sweep.id, name=short_name(), host=host[:200],
        state="RUNNING", created_at=now, heartbeat_at=now,
    )  # fmt: skip
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
