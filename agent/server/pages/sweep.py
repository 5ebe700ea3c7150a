"""What the page of one sweep shows: its grid points with their states, its progress, its agents."""

import json
from collections import Counter
from functools import lru_cache
from typing import Any

from agent.config.objective import flat_number
from agent.config.search_space import grid_point, grid_size
from agent.config.sweep_config import SweepConfig
from agent.config.sweep_yaml import swept_paths
from agent.config.values import digest_of
from agent.results.outcome import Outcome
from agent.results.presentation import CURVE, LATENCY, MODEL_SIZE, SCORE
from agent.server.pages.metrics import better_of, heading_of
from agent.server.pages.table import Column, RowCache, Scalar, column_payload, short_text
from agent.server.pages.view import FIRST_ROWS, text_of
from agent.server.store.database import Connection
from agent.server.store.points import expected_count
from agent.server.store.records import ENDED_STATES, Sweep
from agent.server.store.runs import list_bin, of_sweep
from agent.server.store.sweeps import config_of, list_agents

MAX_POINTS = 2_000
# What `shown_state` says beside the server's own states.
ENDED_OUTCOMES = {Outcome.PRUNED.value, Outcome.DIVERGED.value, Outcome.INVALID.value}
# What a person may do with a sweep in each state: (new state, word on the button, what it does).
_PAUSE = ("PAUSED", "Pause", "start no more grid points for now; running runs go on")
_STOP = ("FINISHED", "Stop", "start no more grid points; running runs finish by themselves")
_CANCEL = ("CANCELED", "Cancel", "start no more grid points and stop the running runs")
_RESUME = ("RUNNING", "Resume", "start grid points again")
ACTIONS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "PENDING": (_PAUSE, _STOP, _CANCEL),
    "RUNNING": (_PAUSE, _STOP, _CANCEL),
    "PAUSED": (_RESUME, _STOP, _CANCEL),
    "FINISHED": (_RESUME,),
    "CANCELED": (_RESUME,),
}


@lru_cache(maxsize=256)
def _named(config_text: str) -> str | None:
    """Remembered for more sweeps than whole configs are: a project's page names all of its."""
    return config_of(config_text).name


def title_of(sweep: Sweep) -> str:
    """What people call the sweep: its name in the YAML, else its id."""
    return sweep.display_name or _named(sweep.config) or sweep.name


def swept_keys(sweep: Sweep) -> list[str]:
    """The parameters that differ between points."""
    return sorted(swept_paths(config_of(sweep.config).space))


@lru_cache(maxsize=32)
def _grid(config_text: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """(digest, flat point) of the grid's first points."""
    config = config_of(config_text)
    points = [grid_point(config.space, i) for i in range(min(grid_size(config.space), MAX_POINTS))]
    return tuple((digest_of(config.nested_point(point)), point) for point in points)


def sweep_payload(connection: Connection, sweep: Sweep, cache: RowCache) -> dict[str, Any]:
    """State, progress, agents and the table of points, for the page and for its script."""
    config = config_of(sweep.config)
    rows = {row.id: row for row in cache.rows(connection, of_sweep(sweep.id))[0]}
    lines = _lines(connection, sweep, rows)
    keys = swept_keys(sweep)
    metrics = _metrics(config.metric, [row.values for row in rows.values()])
    columns = [
        Column("#", "point", [*range(1, len(lines) + 1)], is_first=True),
        Column("state", "point", [line["state"] for line in lines], is_first=True),
        *(Column(k, "config", [line["point"].get(k) for line in lines], True) for k in keys),
        *(
            Column(k, "summary", [_measured(line["values"], k, config) for line in lines], True)
            for k in metrics
        ),
        Column("attempts", "point", [line["attempts"] for line in lines], is_first=True),
        Column("name", "point", [line["values"].get("name") for line in lines], is_first=True),
    ]
    counts = Counter(line["state"] for line in lines)
    expected = expected_count(sweep)
    ended = sum(line["state"] in ENDED_STATES | ENDED_OUTCOMES for line in lines)
    return {
        "title": title_of(sweep),
        "state": sweep.state,
        "metric": config.metric,
        "goal": config.goal,
        "better": "higher" if config.goal == "maximize" else "lower",
        "keys": keys,
        "metrics": metrics,
        "counts": dict(sorted(counts.items())),
        "expected": expected,
        "ended": ended,
        "is_live": sweep.state in ("PENDING", "RUNNING", "PAUSED") or counts["running"] > 0,
        "agents": _agents(connection, sweep),
        "total": len(lines),
        "ids": [line["run"] for line in lines],
        "styles": [rows[line["run"]].style if line["run"] in rows else None for line in lines],
        "columns": [_described(column) for column in columns],
    }


def _measured(values: dict[str, Scalar], key: str, config: SweepConfig) -> Scalar:
    """A run's value of a metric; of the sweep's own the best that `define_metric` keeps."""
    if config.objective is not None and key == config.metric and key not in values:
        return flat_number(values, config.objective)
    return values.get(key)


def _described(column: Column) -> dict[str, Any]:
    described = column_payload(column)
    headings = {"#": "#", "attempts": "Attempts", "state": "State", "name": "Run"}
    described["heading"] = headings.get(column.key) or heading_of(column.key)
    if column.origin == "summary":
        described["better"] = better_of(column.key)
    return described


def _metrics(metric: str | None, values: list[dict[str, Scalar]]) -> list[str]:
    """The sweep's own metric, and what the study weighs against it where it is known."""
    score = None if metric == CURVE else SCORE  # the same numbers twice would only take room
    wanted = [metric, score, LATENCY, MODEL_SIZE]
    known = {key for row in values for key in row}
    return [key for key in dict.fromkeys(wanted) if key and (key in known or key == metric)]


def _lines(connection: Connection, sweep: Sweep, rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Every point: those handed out, then those of the grid that wait for their turn."""
    config = config_of(sweep.config)
    lines = []
    seen = set()
    points = connection.execute(
        "SELECT * FROM point WHERE sweep_id = ? ORDER BY id LIMIT ?", (sweep.id, MAX_POINTS)
    )
    for point in points:
        seen.add(point["digest"])
        row = rows.get(point["run_name"])
        flat = config.flat_point(json.loads(point["config"]))
        state = _state(point["status"], point["attempts"], row.values["state"] if row else None)
        lines.append(_line(point["run_name"], state, flat, row, point["attempts"]))
    named = {line["run"] for line in lines}
    deleted = {run.name for run, _ in list_bin(connection, sweep.project_id)}
    lines = [_without_run(line) if line["run"] in deleted else line for line in lines]
    for name, row in reversed(rows.items()):  # runs that were not handed out by this server
        if name not in named and row.values.get("job_type") not in ("scheduler", "inference"):
            lines.append(_line(name, str(row.values["state"]), dict(row.values), row, None))
    if config.method != "grid":
        return lines
    prior = connection.execute("SELECT digest FROM prior_run WHERE sweep_id = ?", (sweep.id,))
    covered = {row[0] for row in prior}
    for digest, flat in _grid(sweep.config):
        if digest not in seen:
            state = "covered by an earlier run" if digest in covered else "waiting"
            lines.append(_line("", state, flat, None, None))
    return lines[:MAX_POINTS]


def _without_run(line: dict[str, Any]) -> dict[str, Any]:
    """A point whose run was deleted and can still be brought back."""
    return {**line, "run": "", "state": "deleted"}


def _line(
    run: str, state: str, point: dict[str, Any], row: Any, attempts: int | None
) -> dict[str, Any]:
    return {
        "run": run,
        "state": state,
        "point": {key: _scalar(value) for key, value in point.items()},
        "values": row.values if row else {},
        "attempts": attempts,
    }


def _state(status: str, attempts: int, run_state: str | None) -> str:
    """One word for a point: its run's state, unless the point is not with a run now."""
    if status == "open":
        return "to be tried again" if attempts else "queued"
    if run_state == "pending" and status == "claimed":
        return "starting"
    if run_state is not None:
        return run_state
    return "starting" if status == "claimed" else "given up"


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, bool | int | float):
        return value
    return short_text(value if isinstance(value, str) else json.dumps(value))


def _agents(connection: Connection, sweep: Sweep) -> list[dict[str, Any]]:
    return [
        {"name": agent.name, "host": agent.host, "heartbeat_at": agent.heartbeat_at}
        for agent in list_agents(connection, sweep.id)
    ]


BEST_RUNS = 10


def drawn(shown: dict[str, Any]) -> dict[str, Any]:
    """The points and the best runs as texts, for the page before its script takes over."""
    columns = shown["columns"]
    total = shown["total"]
    values = [c.get("values") or [c.get("constant")] * total for c in columns]
    lines = [
        {
            "id": shown["ids"][place],
            "texts": [text_of(c["key"], v[place]) for c, v in zip(columns, values, strict=True)],
        }
        for place in range(min(total, FIRST_ROWS))
    ]
    return {"lines": lines, "best": _best(shown, values)}


def _best(shown: dict[str, Any], values: list[list[Scalar]]) -> list[dict[str, str]]:
    """The runs that lead by the sweep's own metric, which may be better low or high."""
    by_key = {c["key"]: v for c, v in zip(shown["columns"], values, strict=True)}
    scores = by_key.get(shown["metric"] or "", [])
    ranked = [
        (float(value), place)
        for place, value in enumerate(scores)
        if isinstance(value, int | float) and shown["ids"][place]
    ]
    ranked.sort(key=lambda pair: -pair[0] if shown["better"] == "higher" else pair[0])
    return [
        {
            "id": shown["ids"][place],
            "name": text_of("", by_key["name"][place]),
            "value": text_of("", value),
            "words": ", ".join(
                f"{key} {text_of('', by_key[key][place])}"
                for key in shown["keys"]
                if by_key[key][place] is not None
            ),
        }
        for value, place in ranked[:BEST_RUNS]
    ]
