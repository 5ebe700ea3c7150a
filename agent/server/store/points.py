"""The points of a sweep: proposed, kept, counted.

A point keeps its run id over all attempts, so that a run handed out again can resume.
"""

import hashlib
import json
from threading import Lock
from typing import Any

from agent.config.search_space import grid_point, grid_size
from agent.config.sweep_config import SweepConfig
from agent.config.values import digest_of
from agent.search.proposals import PastRun, RunState, bayes_point, random_point
from agent.server.store.database import Connection, insert, update
from agent.server.store.records import Point, Run, Sweep
from agent.server.store.run_metrics import best_and_latest
from agent.server.store.sweeps import config_of, short_name

MAX_PROPOSALS = 64
_PROPOSALS: dict[str, dict[str, Any]] = {}  # of bayes, by all that they follow from
_LOCK = Lock()


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
        connection,
        "point",
        sweep_id=sweep.id,
        run_name=run_name or short_name(),
        config=json.dumps(config),
        digest=digest_of(config),
        status=status,
        display_name=display_name,
    )
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
        return (
            size if size < 2**31 else None
        )  # more than GraphQL's Int, or a search should run through
    return config.run_cap


def propose_point(connection: Connection, sweep: Sweep) -> Point | None:
    """The next new point, or None if the sweep has no more (which is remembered)."""
    config = config_of(sweep.config)
    if config.has_scheduler:
        return None  # the client's own scheduler proposes and enqueues
    issued = count_points(connection, sweep.id)
    if config.run_cap is not None and issued >= config.run_cap:
        update(connection, "sweep", sweep.id, exhausted=1)
        return None
    if config.method == "grid":
        return _next_grid_point(connection, sweep, config)
    seed = _seed_of(sweep, issued)
    if config.method == "random":
        return add_point(connection, sweep, config.nested_point(random_point(config.space, seed)))
    if config.method == "bayes":
        return add_point(connection, sweep, _learned_point(connection, sweep, config, seed))
    return None  # custom: points come from outside


def _next_grid_point(connection: Connection, sweep: Sweep, config: SweepConfig) -> Point | None:
    """The first grid point that no run covers (prior runs and an update may cover some)."""
    size = grid_size(config.space)
    for index in range(sweep.next_index, size):
        point = config.nested_point(grid_point(config.space, index))
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


def _learned_point(
    connection: Connection, sweep: Sweep, config: SweepConfig, seed: int
) -> dict[str, Any]:
    objective = config.objective
    past = _past_runs(connection, sweep, config)
    known_by = hashlib.sha256(f"{sweep.config} {seed} {past}".encode()).hexdigest()
    found = _PROPOSALS.get(known_by)
    if found is None:
        found = bayes_point(
            config.space,
            past,
            config.goal,
            seed,
            impute=objective.impute if objective else "worst",
            impute_while_running=objective.impute_while_running if objective else None,
        )
        with _LOCK:
            while len(_PROPOSALS) >= MAX_PROPOSALS:
                del _PROPOSALS[next(iter(_PROPOSALS))]
            _PROPOSALS[known_by] = found
    return config.nested_point(found)


def propose_ahead(connection: Connection, sweep: Sweep) -> None:
    """Let bayes find its next point from a snapshot, before the database is held to add it: over a
    thousand runs that takes a second."""
    config = config_of(sweep.config)
    is_open = sweep.state in ("PENDING", "RUNNING") and not sweep.exhausted
    if config.method != "bayes" or config.has_scheduler or not is_open:
        return
    if next_open_point(connection, sweep.id) is None:
        seed = _seed_of(sweep, count_points(connection, sweep.id))
        _learned_point(connection, sweep, config, seed)


def _seed_of(sweep: Sweep, issued: int) -> int:
    return int(hashlib.sha256(f"{sweep.name}:{issued}".encode()).hexdigest()[:8], 16)


def _past_runs(connection: Connection, sweep: Sweep, config: SweepConfig) -> list[PastRun]:
    """All points handed out or waiting to be, and the runs from before the sweep."""
    rows = connection.execute(
        "SELECT run.*, point.config AS point_config, point.status AS point_status "
        "FROM point LEFT JOIN run ON run.sweep_id = point.sweep_id AND run.name = point.run_name "
        "WHERE point.sweep_id = ? ORDER BY point.id",
        (sweep.id,),
    ).fetchall()
    rows += connection.execute(
        "SELECT run.*, NULL AS point_config, NULL AS point_status FROM prior_run "
        "JOIN run ON run.id = prior_run.run_id WHERE prior_run.sweep_id = ?",
        (sweep.id,),
    ).fetchall()
    past = []
    for row in rows:
        if row["id"] is None:
            if row["point_status"] != "done":
                point = config.flat_point(json.loads(row["point_config"]))
                past.append(PastRun(point, None, "running"))
            continue
        run = Run.of(row)
        best, latest = best_and_latest(connection, run, config.objective)
        tree = json.loads(row["point_config"]) if row["point_config"] else run.config_values()
        past.append(PastRun(config.flat_point(tree), best, _state_of(run), latest))
    return past


def _state_of(run: Run) -> RunState:
    """What bayes makes of a run: one that failed or was stopped has no value of its own."""
    if not run.is_over or run.state == "preempted":
        return "running"
    return "finished" if run.state == "finished" else "failed"
