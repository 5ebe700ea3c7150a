"""Who runs which point: claims as leases, and what becomes of a point whose run ends or is lost.

At any moment at most one agent holds a point. A claim lives as long as its agent reports the run,
or the run itself speaks; then its lease runs out. A point whose run crashed, was lost before
`wandb.init`, was preempted or deleted is handed out again under the same run id. What a person
stopped, what failed with an exit code, and what finished is not.

A run that works offline (WANDB_MODE=offline under an agent) says nothing here, so it looks like one
lost before `wandb.init`. `wandb sync` brings it back: it then takes its point with it, finished.
Where such runs are meant, `serve --max-attempts 1` keeps their points from being repeated before.
"""

import json
from dataclasses import dataclass
from typing import Any

from agent.server.store.database import Connection, update
from agent.server.store.early_stopping import hopeless_runs
from agent.server.store.points import (
    count_points,
    find_point,
    next_open_point,
    points_of_agent,
    propose_point,
)
from agent.server.store.projects import get_project
from agent.server.store.records import Agent, Point, Run, Sweep
from agent.server.store.run_metrics import has_reached_target, sweep_curves
from agent.server.store.runs import (
    change_run,
    create_run,
    end_run,
    find_run,
    list_bin,
    take_from_bin,
)
from agent.server.store.sweeps import change_sweep, config_of, get_sweep

HEARD_S = 30.0  # an agent asks every 5 s; one that missed six times may be gone


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient the server is."""

    lease_s: float = 300.0  # a claim whose run is silent is released after this
    silence_s: float = 300.0  # a run that says nothing for this long has crashed
    settle_s: float = 10.0  # a run its agent no longer reports may still send its last messages
    max_attempts: int = 3  # how often a point is handed out, preemptions not counted
    max_preemptions: int = 100

    def __post_init__(self) -> None:
        if min(self.lease_s, self.silence_s, self.settle_s) < 0 or self.max_attempts < 1:
            raise ValueError(f"a policy needs durations of at least 0 and one attempt: {self}")


def take_heartbeat(
    connection: Connection, agent: Agent, running: set[str], now: float, policy: Policy
) -> list[dict[str, Any]]:
    """What the agent shall do next, given the runs it says are running."""
    update(connection, "agent", agent.id, heartbeat_at=now, state="RUNNING")
    update(connection, "sweep", agent.sweep_id, heartbeat_at=now)
    sweep = get_sweep(connection, agent.sweep_id)
    assert sweep is not None
    _adopt(connection, sweep, agent, running, now, policy)
    _stop_hopeless(connection, sweep, running, now)
    sweep = _end_at_target(connection, sweep, now)
    stops = []
    for point in points_of_agent(connection, agent.id):
        run = find_run(connection, sweep.project_id, point.run_name)
        if point.run_name in running:
            seen_at = point.seen_at or now
            lease_until = now + policy.lease_s
            update(
                connection,
                "point",
                point.id,
                seen_at=seen_at,
                gone_at=None,
                lease_until=lease_until,
            )
            if run is None or run.stop_requested:
                stops.append(point.run_name)
        else:
            _notice_absence(connection, point, run, now, policy)
    stops.extend(_runs_of_others(connection, sweep, agent, running))
    if running:
        return [{"type": "stop", "run_id": name} for name in stops]
    return _next_command(connection, sweep, agent, now, policy)


def take_leave(connection: Connection, agent: Agent, now: float, policy: Policy) -> None:
    """The agent has ended. A point whose run it has not begun is free at once, uncharged; one that
    it has begun ends by its run's own words, or by its silence.
    """
    sweep = get_sweep(connection, agent.sweep_id)
    assert sweep is not None
    for point in points_of_agent(connection, agent.id):
        run = find_run(connection, sweep.project_id, point.run_name)
        if run is not None and not run.is_over and not _has_begun(run, point):
            settle(connection, end_run(connection, run, "preempted", now), now, policy)
    update(connection, "agent", agent.id, state="FINISHED")


def _stop_hopeless(connection: Connection, sweep: Sweep, running: set[str], now: float) -> None:
    """Early termination looks at the agent's runs whenever the agent speaks."""
    config = config_of(sweep.config)
    if config.hyperband is None or config.metric is None or not running:
        return
    curves = sweep_curves(connection, sweep.id, config.metric)
    for name in hopeless_runs(curves, config.hyperband, config.goal):
        run = find_run(connection, sweep.project_id, name) if name in running else None
        if run is not None and not run.is_over and not run.stop_requested:
            change_run(connection, run, now, stop_requested="early_terminate")


def _adopt(
    connection: Connection,
    sweep: Sweep,
    agent: Agent,
    running: set[str],
    now: float,
    policy: Policy,
) -> None:
    """A run whose lease ran out while its agent could not be heard goes back to that agent."""
    for name in running:
        point = find_point(connection, sweep.id, name)
        if point is not None and point.status == "open":
            update(
                connection,
                "point",
                point.id,
                status="claimed",
                agent_id=agent.id,
                seen_at=now,
                gone_at=None,
                lease_until=now + policy.lease_s,
            )


def _runs_of_others(
    connection: Connection, sweep: Sweep, agent: Agent, running: set[str]
) -> list[str]:
    """Runs that meanwhile belong to another agent: two writers must not go on."""
    taken = []
    for name in running:
        point = find_point(connection, sweep.id, name)
        if point is not None and point.status == "claimed" and point.agent_id != agent.id:
            taken.append(name)
    return taken


def _notice_absence(
    connection: Connection, point: Point, run: Run | None, now: float, policy: Policy
) -> None:
    """The agent holds the point but does not run it (any more)."""
    if run is None:
        release(connection, point, "deleted", policy)
    elif run.is_over:
        settle(connection, run, now, policy)
    elif not _has_begun(run, point):
        state = silent_state(run)
        end_run(connection, run, state, now)
        release(connection, point, "ended" if state == "killed" else "lost", policy)
    elif point.gone_at is None:
        update(connection, "point", point.id, gone_at=now)
    elif now - point.gone_at >= policy.settle_s and now - run.heartbeat_at >= policy.settle_s:
        settle(connection, end_run(connection, run, silent_state(run), now), now, policy)


def _has_begun(run: Run, point: Point) -> bool:
    """Whether `wandb.init` has arrived for the present claim (a re-issued run is pending)."""
    return bool(run.initialised) and (run.state != "pending" or point.claimed_at is None)


def silent_state(run: Run) -> str:
    """The true final state of a run that ended without saying how."""
    if run.stop_requested:
        return "killed"
    return "preempted" if run.preempting else "crashed"


def settle(connection: Connection, run: Run, now: float, policy: Policy) -> None:
    """Draw the consequences of a run's end for its point and its sweep."""
    if run.sweep_id is None:
        return
    point = find_point(connection, run.sweep_id, run.name)
    if point is not None:
        reason = run.state if run.state in ("crashed", "preempted") else "ended"
        if run.stop_requested and run.state == "crashed":
            reason = "ended"
        release(connection, point, reason, policy)
    finish_if_complete(connection, run.sweep_id, now)


def release(connection: Connection, point: Point, reason: str, policy: Policy) -> None:
    """Free a point: open for the next agent, or done."""
    changes: dict[str, Any] = {"agent_id": None, "lease_until": None, "gone_at": None}
    if reason in ("crashed", "lost"):
        changes["status"] = "open" if point.attempts < policy.max_attempts else "done"
    elif reason == "preempted":
        may_go_on = point.preemptions < policy.max_preemptions
        changes["status"] = "open" if may_go_on else "done"
        changes |= {"preemptions": point.preemptions + 1, "attempts": max(point.attempts - 1, 0)}
    elif reason == "deleted":
        changes |= {"status": "open", "attempts": 0}
    else:
        changes["status"] = "done"
    update(connection, "point", point.id, **changes)


def _next_command(
    connection: Connection, sweep: Sweep, agent: Agent, now: float, policy: Policy
) -> list[dict[str, Any]]:
    """Work for an idle agent."""
    if sweep.state == "PAUSED":
        return []
    waits_only = sweep.state == "FINISHED" and config_of(sweep.config).has_scheduler
    if sweep.state in ("PENDING", "RUNNING") or (waits_only and sweep.exhausted):
        point = next_open_point(connection, sweep.id)
        if point is None and not sweep.exhausted:
            point = propose_point(connection, sweep)
        if point is not None:
            return [_hand_out(connection, sweep, agent, point, now, policy)]
        sweep = finish_if_complete(connection, sweep.id, now)
        if sweep.state == "RUNNING" and not _is_needless(connection, sweep, agent, now):
            return []
    update(connection, "agent", agent.id, state="FINISHED")
    return [{"type": "exit"}]


def _is_needless(connection: Connection, sweep: Sweep, agent: Agent, now: float) -> bool:
    """Whether no point of the sweep can still reach an idle agent.

    So it is once nothing is left to propose and every point that is not done is held by another
    agent which is heard: should its run crash, that agent itself asks next. An agent waits for
    its own point to be settled, and for one whose holder has fallen silent.
    """
    if not sweep.exhausted:
        return False  # a scheduler may queue points at any time
    row = connection.execute(
        "SELECT count(*) FROM point LEFT JOIN agent ON agent.id = point.agent_id "
        "WHERE point.sweep_id = ? AND point.status != 'done' AND (point.status = 'open' "
        "OR agent.id IS NULL OR agent.id = ? OR agent.heartbeat_at < ?)",
        (sweep.id, agent.id, now - HEARD_S),
    ).fetchone()
    return int(row[0]) == 0


def _end_at_target(connection: Connection, sweep: Sweep, now: float) -> Sweep:
    """A sweep with a `metric.target` is FINISHED once a run has reached it; no point waits on."""
    if sweep.state != "RUNNING" or not has_reached_target(connection, sweep):
        return sweep
    connection.execute(
        "UPDATE point SET status = 'done' WHERE sweep_id = ? AND status = 'open'", (sweep.id,)
    )
    return change_sweep(connection, sweep, now, state="FINISHED")


def _hand_out(
    connection: Connection, sweep: Sweep, agent: Agent, point: Point, now: float, policy: Policy
) -> dict[str, Any]:
    """Claim the point for the agent; its run is pending until `wandb.init` arrives."""
    update(
        connection,
        "point",
        point.id,
        status="claimed",
        agent_id=agent.id,
        claimed_at=now,
        attempts=point.attempts + 1,
        seen_at=None,
        gone_at=None,
        lease_until=now + policy.lease_s,
    )
    arguments = {key: {"value": value} for key, value in json.loads(point.config).items()}
    run = find_run(connection, sweep.project_id, point.run_name)
    if run is None:
        create_run(
            connection,
            get_project(connection, sweep.project_id),
            point.run_name,
            now,
            sweep_id=sweep.id,
            agent_id=agent.id,
            state="pending",
            display_name=point.display_name,
            config=json.dumps(arguments),
        )
    else:
        change_run(
            connection,
            run,
            now,
            state="pending",
            agent_id=agent.id,
            stop_requested=None,
            preempting=0,
            exit_code=None,
            finished_at=None,
            heartbeat_at=now,
        )
    program = config_of(sweep.config).program
    return {"type": "run", "run_id": point.run_name, "program": program, "args": arguments}


def finish_if_complete(connection: Connection, sweep_id: int, now: float) -> Sweep:
    """A running sweep is FINISHED once nothing is left to propose and every point is done."""
    sweep = get_sweep(connection, sweep_id)
    assert sweep is not None
    sweep = _end_at_target(connection, sweep, now)
    if sweep.state != "RUNNING" or count_points(connection, sweep.id, unfinished_only=True):
        return sweep
    config = config_of(sweep.config)
    if not sweep.exhausted:
        if config.method != "grid" and config.run_cap is None:
            return sweep
        point = propose_point(connection, sweep)  # the last proposal shows whether one is left
        sweep = get_sweep(connection, sweep_id)
        assert sweep is not None
        if point is not None or not sweep.exhausted:
            return sweep
    return change_sweep(connection, sweep, now, state="FINISHED")


def end_silent(connection: Connection, now: float, policy: Policy) -> int:
    """Give silent runs their final state and free their claims; how many there were."""
    rows = connection.execute(
        "SELECT * FROM run WHERE state = 'running' AND heartbeat_at < ?", (now - policy.silence_s,)
    ).fetchall()
    for row in rows:
        run = Run.of(row)
        end_run(connection, run, silent_state(run), now)
    expired = connection.execute(
        "SELECT point.*, sweep.project_id AS project FROM point JOIN sweep ON "
        "sweep.id = point.sweep_id WHERE point.status = 'claimed' AND point.lease_until < ?",
        (now,),
    ).fetchall()
    for row in expired:
        point = Point.of(row)
        found = find_run(connection, row["project"], point.run_name)
        if found is None:
            release(connection, point, "deleted", policy)
            continue
        if not found.is_over:
            found = end_run(connection, found, silent_state(found), now)
        settle(connection, found, now, policy)
    connection.execute(
        "UPDATE agent SET state = 'LOST' WHERE state = 'RUNNING' AND heartbeat_at < ?",
        (now - policy.silence_s,),
    )
    return len(rows) + len(expired)


def forget_run(connection: Connection, run: Run, policy: Policy) -> None:
    """Delete a run. Its point is handed out again once no live agent holds it."""
    connection.execute("DELETE FROM run WHERE id = ?", (run.id,))
    if run.sweep_id is None:
        return
    point = find_point(connection, run.sweep_id, run.name)
    if point is not None and point.status == "done":
        release(connection, point, "deleted", policy)
        connection.execute(
            "UPDATE sweep SET state = 'RUNNING' WHERE id = ? AND state = 'FINISHED'",
            (run.sweep_id,),
        )


def ask_to_stop(connection: Connection, run: Run, now: float, policy: Policy) -> bool:
    """A person stops the run: its client learns of it with its next sign of life.

    A run that has crashed and would be handed out again is given up. False where nothing is left
    to stop.
    """
    if not run.is_over:
        change_run(connection, run, now, stop_requested="person")
        return True
    point = None if run.sweep_id is None else find_point(connection, run.sweep_id, run.name)
    if point is None or point.status != "open":
        return False
    release(connection, point, "ended", policy)
    change_run(connection, run, now, state="killed")
    return True


def empty_bin(connection: Connection, now: float, policy: Policy) -> int:
    """Delete the runs whose time in the bin is over; how many. One that runs again stays."""
    due = [run for run, due_at in list_bin(connection) if due_at <= now]
    for run in due:
        if run.is_over:
            forget_run(connection, run, policy)
        else:
            take_from_bin(connection, run, now)
    return len(due)
