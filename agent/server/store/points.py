"""The points of a sweep: proposed, kept, counted.

A point keeps its run id over all attempts, so that a run handed out again can resume.
"""

import hashlib
import json
from typing import Any

from agent.search.proposals import (
    PastRun,
    RunState,
    bayes_point,
    grid_point,
    grid_size,
    random_point,
)
from agent.server.store.database import Connection, insert, update
from agent.server.store.records import Point, Run, Sweep
from agent.server.store.sweep_config import SweepConfig
from agent.server.store.sweeps import config_of, metric_value, short_name


def digest_of(config: dict[str, Any]) -> str:
    """Names a config, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def find_point(connection: Connection, sweep_id: int, run_name: str) -> Point | None:
    row = connection.execute(
        "SELECT * FROM point WHERE sweep_id = ? AND run_name = ?", (sweep_id, run_name)
    ).fetchone()
    return Point.maybe(row)


def points_of_agent(connection: Connection, agent_id: int) -> list[Point]:
    rows = connection.execute(
        "SELECT * FROM point WHERE agent_id = ? AND status = 'claimed' ORDER BY id", (agent_id,)
    )
    return [Point.of(row) for row in rows]


def next_open_point(connection: Connection, sweep_id: int) -> Point | None:
    row = connection.execute(
        "SELECT * FROM point WHERE sweep_id = ? AND status = 'open' ORDER BY id LIMIT 1",
        (sweep_id,),
    ).fetchone()
    return Point.maybe(row)


def add_point(
    connection: Connection,
    sweep: Sweep,
    config: dict[str, Any],
    *,
    run_name: str | None = None,
    status: str = "open",
    display_name: str | None = None,
) -> Point:
    point_id = insert(
        connection, "point", sweep_id=sweep.id, run_name=run_name or short_name(),
        config=json.dumps(config), digest=digest_of(config), status=status,
        display_name=display_name,
    )  # fmt: skip
    return Point.of(connection.execute("SELECT * FROM point WHERE id = ?", (point_id,)).fetchone())


def count_points(connection: Connection, sweep_id: int, *, unfinished_only: bool = False) -> int:
    condition = "AND status != 'done'" if unfinished_only else ""
    row = connection.execute(
        f"SELECT count(*) FROM point WHERE sweep_id = ? {condition}", (sweep_id,)
    ).fetchone()
    return int(row[0])


def expected_count(sweep: Sweep) -> int | None:
    """How many runs the sweep will have; None if it goes on for ever."""
    config = config_of(sweep.config)
    if config.method == "grid":
        size = grid_size(config.space)
        size = min(size, config.run_cap) if config.run_cap else size
        return size if size < 2**31 else None  # more than GraphQL's Int, or anybody's patience
    return config.run_cap


def propose_point(connection: Connection, sweep: Sweep) -> Point | None:
    """The next new point, or None if the sweep has no more (which is remembered)."""
    config = config_of(sweep.config)
    issued = count_points(connection, sweep.id)
    if config.run_cap is not None and issued >= config.run_cap:
        update(connection, "sweep", sweep.id, exhausted=1)
        return None
    if config.method == "grid":
        return _next_grid_point(connection, sweep, config)
    seed = int(hashlib.sha256(f"{sweep.name}:{issued}".encode()).hexdigest()[:8], 16)
    if config.method == "random":
        return add_point(connection, sweep, unflatten(random_point(config.space, seed), config))
    if config.method == "bayes":
        past = _past_runs(connection, sweep, config)
        found = bayes_point(config.space, past, config.goal, seed)
        return add_point(connection, sweep, unflatten(found, config))
    return None  # custom: points come from outside


def _next_grid_point(connection: Connection, sweep: Sweep, config: SweepConfig) -> Point | None:
    """The first grid point that no run covers (prior runs and an update may cover some)."""
    size = grid_size(config.space)
    for index in range(sweep.next_index, size):
        point = unflatten(grid_point(config.space, index), config)
        known = connection.execute(
            "SELECT 1 FROM point WHERE sweep_id = ?1 AND digest = ?2 "
            "UNION SELECT 1 FROM prior_run WHERE sweep_id = ?1 AND digest = ?2",
            (sweep.id, digest_of(point)),
        ).fetchone()
        if not known:
            update(connection, "sweep", sweep.id, next_index=index + 1)
            return add_point(connection, sweep, point)
    update(connection, "sweep", sweep.id, next_index=size, exhausted=1)
    return None


def _past_runs(connection: Connection, sweep: Sweep, config: SweepConfig) -> list[PastRun]:
    rows = connection.execute(
        "SELECT run.*, point.config AS point_config FROM point JOIN run ON "
        "run.sweep_id = point.sweep_id AND run.name = point.run_name WHERE point.sweep_id = ?",
        (sweep.id,),
    ).fetchall()
    rows += connection.execute(
        "SELECT run.*, NULL AS point_config FROM prior_run JOIN run ON run.id = prior_run.run_id "
        "WHERE prior_run.sweep_id = ?",
        (sweep.id,),
    ).fetchall()
    past = []
    for row in rows:
        run = Run.of(row)
        value = metric_value(run, config.metric)
        state: RunState = "failed" if value is None else "finished"
        if not run.is_over:
            state = "running"
        tree = json.loads(row["point_config"]) if row["point_config"] else run.config_values()
        point = flatten(tree, config)
        past.append(PastRun(point, value, state))
    return past


def unflatten(flat: dict[str, Any], config: SweepConfig) -> dict[str, Any]:
    """Nested parameters become objects again; a dot in a plain name stays a dot."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        if path not in config.nested:
            tree[path] = value
            continue
        *parents, leaf = path.split(".")
        branch = tree
        for name in parents:
            branch = branch.setdefault(name, {})
        branch[leaf] = value
    return tree


def flatten(tree: dict[str, Any], config: SweepConfig) -> dict[str, Any]:
    """The inverse of `unflatten`, for the paths of the space."""
    flat: dict[str, Any] = {}
    for path in config.space:
        value: Any = tree
        for name in path.split(".") if path in config.nested else [path]:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            flat[path] = value
    return flat
