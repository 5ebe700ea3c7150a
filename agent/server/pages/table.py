"""Runs as rows of a table: which columns there are, in which order, and what a browser is sent.

Values go to the browser by column, not by run: a column whose value is the same everywhere is
sent once, which is most of a sweep's config.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import Any

from agent.config.objective import number_of
from agent.config.point_values import as_read
from agent.results.outcome import Outcome, outcome_of
from agent.results.presentation import BY_KEY, style_of
from agent.results.query.records import words_of
from agent.results.run_table import Row as StudyRow
from agent.server.pages.metrics import (
    FIRST_COLUMNS,
    NOT_FINITE,
    better_of,
    heading_of,
    variant_of,
)
from agent.server.pages.study import study_row
from agent.server.store.database import Connection
from agent.server.store.filtering.filters import Clause
from agent.server.store.records import Run
from agent.server.store.runs import LEFT_OUT

Scalar = str | int | float | bool | None
MAX_RUNS = 5_000
MAX_TEXT = 200
MAX_KEYS = 1_000  # of one run's config or summary
MAX_COLUMNS = 500
FEW_COLUMNS = 5
_RUN_KEYS = {
    "name": "Run",
    "state": "State",
    "variant": "Variant",
    "created": "Created (UTC)",
    "duration_s": "Duration",
    "id": "Id",
    "sweep": "Sweep",
    "job_type": "Job type",
    "group": "Group",
    "tags": "Tags",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One run. `values` has only what is known."""

    id: str
    style: int | None
    updated_at: float
    values: dict[str, Scalar]
    origins: dict[str, str]  # key -> run, config or summary
    study: StudyRow | None = None  # the same run as a study reads it
    place: tuple[int, int] = (0, 0)  # its id and revision in the store
    words: str = ""  # its texts in lower case, which free text is looked for in

    @property
    def is_inference(self) -> bool:
        """Whether it repeats what a training run says: then it is not a point of its own."""
        return self.values.get("job_type") == "inference"


@dataclass(slots=True)
class Column:
    """One column and its values, in the order of the rows."""

    key: str
    origin: str
    values: list[Scalar] = field(default_factory=list)
    is_first: bool = False  # shown until the reader chooses

    @property
    def heading(self) -> str:
        return _RUN_KEYS.get(self.key) or heading_of(self.key)

    @property
    def is_constant(self) -> bool:
        return len(self.values) > 1 and all(value == self.values[0] for value in self.values)

    @property
    def is_number(self) -> bool:
        """Whether numbers stand in it, and nothing else."""
        known = [value for value in self.values if value is not None]
        return bool(known) and all(
            value in NOT_FINITE
            if isinstance(value, str)
            else isinstance(value, int | float) and not isinstance(value, bool)
            for value in known
        )

    @property
    def is_best_high(self) -> bool:
        """Whether a reader wants the largest values first."""
        return self.origin == "summary" and self.is_number and better_of(self.key) == "higher"

    @property
    def digits(self) -> int | None:
        """Decimals that suit all numbers of the column; None where each is written by itself."""
        if self.origin != "summary" or not self.is_number:
            return None
        return decimals_of([found for v in self.values if (found := number_of(v)) is not None])


class RowCache:
    """Rows of runs, remembered until a run changes: reading JSON is most of the work."""

    def __init__(self, size: int = 2 * MAX_RUNS) -> None:
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._size = size
        self._lock = Lock()

    def rows(self, connection: Connection, scope: Clause) -> tuple[list[Row], int]:
        """Rows of a scope, newest first, and how many runs the scope has.

        Inference runs come after the others: what they measured stands on the training runs too.
        Past MAX_RUNS the oldest are left out.
        """
        total = connection.execute(
            f"SELECT count(*) FROM run WHERE {scope.sql}", scope.values
        ).fetchone()[0]
        listed = connection.execute(
            f"SELECT id, updated_at FROM run WHERE {scope.sql} ORDER BY id DESC LIMIT ?",
            (*scope.values, MAX_RUNS),
        ).fetchall()
        names = dict(connection.execute("SELECT id, name FROM sweep").fetchall())
        found = [self._row(connection, item["id"], item["updated_at"], names) for item in listed]
        found.sort(key=lambda row: row.is_inference)
        return found, int(total)

    def _row(
        self, connection: Connection, run_id: int, updated_at: float, sweeps: Mapping[int, str]
    ) -> Row:
        with self._lock:
            known = self._rows.get(run_id)
        if known is not None and known.updated_at == updated_at:
            return known
        row = connection.execute("SELECT * FROM run WHERE id = ?", (run_id,)).fetchone()
        made = row_of(Run.of(row), sweeps)
        with self._lock:
            self._rows[run_id] = made
            self._rows.move_to_end(run_id)
            while len(self._rows) > self._size:
                self._rows.popitem(last=False)
        return made


def row_of(run: Run, sweeps: Mapping[int, str]) -> Row:
    """A run as one row: its own fields, its config and the scalars of its summary."""
    written = run.config_values()
    config = as_read(written)
    variant = variant_of(config)
    summary = run.summary_values()
    own: dict[str, Scalar] = {
        "name": run.display_name,
        "state": shown_state(run, summary),
        "variant": variant,
        "created": round(run.created_at),
        "duration_s": round(duration_of(run, summary)),
        "id": run.name,
        "sweep": sweeps.get(run.sweep_id) if run.sweep_id is not None else None,
        "job_type": run.job_type,
        "group": run.group_name,
        "tags": ", ".join(str(tag) for tag in run.tag_list()),
    }
    values: dict[str, Scalar] = {k: value for k, value in own.items() if value not in (None, "")}
    origins = dict.fromkeys(values, "run")
    for origin, tree in (("summary", summary), ("config", config)):
        for key, value in islice(flat(tree), MAX_KEYS):
            if key == "variant" and value == variant:  # the same word, for W&B's charts
                continue
            name = key if key not in values else f"{origin}.{key}"
            values[name] = value
            origins[name] = origin
    place = run.id, run.revision
    words = words_of(values.values())
    style = style_of(variant)
    studied = study_row(run, written, summary)
    return Row(run.name, style, run.updated_at, values, origins, studied, place, words)


def duration_of(run: Run, summary: Mapping[str, Any]) -> float:
    """Seconds that a run worked, which is what it had by its last logged point.

    What comes after, in the same run or days later (a benchmark, the score on the test split),
    logs no point. A run that goes on, or that has logged none, has its age.
    """
    age = max(0.0, (run.finished_at or run.heartbeat_at) - run.created_at)
    worked = number_of(summary.get("_runtime"))
    return worked if worked is not None and run.is_over and 0 < worked < age else age


def decimals_of(values: Sequence[float]) -> int | None:
    """So many that the largest value has four significant digits, the smallest at least two; None
    for whole numbers and for values too far apart."""
    sizes = [abs(value) for value in values if value]
    if not sizes or all(value == int(value) for value in values):
        return None
    decimals = 3 - math.floor(math.log10(max(sizes)))
    if not 0 <= decimals <= 7 or min(sizes) < 10.0 ** (1 - decimals):
        return None
    return decimals


def shown_state(run: Run, summary: Mapping[str, Any] | None = None) -> str:
    """The run's state, but its outcome where that says more: `finished` is a complete run, and
    neither a pruned nor a diverged nor an invalid one."""
    known = run.summary_values() if summary is None else summary
    outcome = outcome_of(run.state, [str(tag) for tag in run.tag_list()], known)
    return run.state if outcome is Outcome.UNKNOWN or outcome.is_running else outcome.value


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Scalar]]:
    """The scalars of nested objects under dotted keys, without media and the client's own keys."""
    for key, value in tree.items():
        if not prefix and key.startswith("_"):
            continue
        if isinstance(value, dict):
            if "_type" not in value and prefix.count(".") < 4:
                yield from flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield prefix + key, short_text(json.dumps(value, ensure_ascii=False))
        elif isinstance(value, str):
            yield prefix + key, short_text(value)
        elif isinstance(value, float):
            yield prefix + key, float(f"{value:.6g}")
        elif value is not None:
            yield prefix + key, value


def shown_values(tree: Mapping[str, Any]) -> list[tuple[str, Scalar]]:
    """What a run's page lists of its config or summary, and how much more there is."""
    pairs = list(islice(flat(tree), MAX_KEYS + 1))
    left_out = tree.get(LEFT_OUT)
    if len(pairs) > MAX_KEYS or isinstance(left_out, int):
        pairs = [*pairs[:MAX_KEYS], ("…", "more keys are in the run's file wandb-summary.json")]
    return pairs


def short_text(text: str, limit: int = MAX_TEXT) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """All columns: the run's own, then what the study is read by, then summary and config."""
    origins: dict[str, str] = {}
    for row in rows:
        origins.update(row.origins)
    ranks = {"summary": 2, "config": 3}
    first = {key: place for place, key in enumerate((*_RUN_KEYS, *FIRST_COLUMNS))}
    order = sorted(
        origins, key=lambda key: (first.get(key, 10**6), ranks.get(origins[key], 1), key)
    )
    columns = [
        Column(key, origins[key], [row.values.get(key) for row in rows])
        for key in order[:MAX_COLUMNS]
    ]
    _choose_first(columns)
    return columns


def _choose_first(columns: list[Column]) -> None:
    """Which columns a table begins with: the study's, else what differs between the runs."""
    for column in columns:
        always = column.key in ("name", "state", *FIRST_COLUMNS)
        differs = column.key in ("job_type", "sweep", "tags") and len(set(column.values)) > 1
        column.is_first = (always and column.key != "seed") or differs
        if column.key == "seed":
            column.is_first = not column.is_constant
    if any(column.is_first and column.key in BY_KEY for column in columns):
        return
    for origin in ("config", "summary"):
        chosen = [
            c
            for c in columns
            if c.origin == origin and not c.is_constant and (origin == "config" or c.is_number)
        ]
        for column in chosen[:FEW_COLUMNS]:
            column.is_first = True


def payload(rows: Sequence[Row], total: int, since: float | None) -> dict[str, Any]:
    """The table as a browser gets it; `at` is what it may give as `since` the next time."""
    return {
        "at": max((row.updated_at for row in rows), default=since or 0),
        "total": min(total, MAX_RUNS),
        "left_out": max(0, total - MAX_RUNS),
        "ids": [row.id for row in rows],
        "styles": [row.style for row in rows],
        "columns": [column_payload(column) for column in columns_of(rows)],
    }


def column_payload(column: Column) -> dict[str, Any]:
    described: dict[str, Any] = {
        "key": column.key,
        "heading": column.heading,
        "origin": column.origin,
        "first": column.is_first,
        "number": column.is_number,
    }
    if column.is_number:
        described["better"] = better_of(column.key)
        described["digits"] = column.digits
    if column.is_constant:
        described["constant"] = column.values[0]
    else:
        described["values"] = column.values
    return described
