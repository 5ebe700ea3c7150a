"""Runs: found, listed, made and changed."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

from agent.server.refusals import Refused
from agent.server.store import large_json
from agent.server.store.database import Connection, insert, update
from agent.server.store.filtering.filters import Clause, compile_filter, compile_order
from agent.server.store.projects import next_run_number
from agent.server.store.records import Page, Project, Run
from agent.server.store.sampling import finite_tree

MAX_PAGE = 1000
MAX_OBJECT = 4 * 2**20  # characters of a config
MAX_SUMMARY = 2**20  # characters of a summary that are kept in the row
LEFT_OUT = "_keys_left_out"


def find_run(connection: Connection, project_id: int, name: str) -> Run | None:
    row = connection.execute(
        "SELECT * FROM run WHERE project_id = ? AND name = ?", (project_id, name)
    ).fetchone()
    return Run.maybe(row)


def get_run(connection: Connection, run_id: int | None) -> Run | None:
    return Run.maybe(connection.execute("SELECT * FROM run WHERE id = ?", (run_id,)).fetchone())


def list_runs(
    connection: Connection,
    scope: Clause,
    *,
    filters: str | None = None,
    order: str | None = None,
    offset: int = 0,
    limit: int = 50,
    spend: Callable[..., None] = lambda **_: None,
) -> Page[Run]:
    """Runs within a scope (of a project, sweep or agent) that pass the client's filter.

    `spend` is asked about the `size` of each before the next one is read.
    """
    where = compile_filter(filters)
    condition = f"({scope.sql}) AND ({where.sql})"
    values = (*scope.values, *where.values)
    total = connection.execute(f"SELECT count(*) FROM run WHERE {condition}", values).fetchone()[0]
    rows = connection.execute(
        f"SELECT run.* FROM run WHERE {condition} ORDER BY {compile_order(order)} LIMIT ? OFFSET ?",
        (*values, min(limit, MAX_PAGE), offset),
    )
    runs = []
    for run in map(Run.of, rows):
        spend(size=len(run.config) + len(run.summary))
        runs.append(run)
    return Page(runs, total, offset)


_IS_KEPT = "run.id NOT IN (SELECT run_id FROM deleted_run)"


def of_project(project_id: int) -> Clause:
    """Its runs, without those in the bin."""
    return Clause(f"run.project_id = ? AND {_IS_KEPT}", (project_id,))


def of_sweep(sweep_id: int) -> Clause:
    """Its runs, without those in the bin."""
    return Clause(f"run.sweep_id = ? AND {_IS_KEPT}", (sweep_id,))


def put_in_bin(connection: Connection, run: Run, due_at: float) -> None:
    """Hide a run everywhere; it is deleted at `due_at` unless it is brought back."""
    connection.execute("INSERT OR REPLACE INTO deleted_run VALUES (?, ?)", (run.id, due_at))


def take_from_bin(connection: Connection, run: Run, now: float) -> bool:
    """Bring a run back; False if it was not in the bin. Its age makes pages read it again."""
    found = connection.execute("DELETE FROM deleted_run WHERE run_id = ?", (run.id,)).rowcount
    if found:
        update(connection, "run", run.id, updated_at=now)
    return bool(found)


def is_in_bin(connection: Connection, run: Run) -> bool:
    query = "SELECT 1 FROM deleted_run WHERE run_id = ?"
    return connection.execute(query, (run.id,)).fetchone() is not None


def list_bin(connection: Connection, project_id: int | None = None) -> list[tuple[Run, float]]:
    """Runs in the bin (of a project) and when each is deleted, the newest first."""
    rows = connection.execute(
        "SELECT run.*, deleted_run.due_at FROM deleted_run JOIN run ON run.id = run_id "
        "WHERE ? IS NULL OR run.project_id = ? ORDER BY due_at DESC, run.id DESC",
        (project_id, project_id),
    ).fetchall()
    return [(Run.of(row), row["due_at"]) for row in rows]


def of_agent(agent_id: int) -> Clause:
    return Clause("run.agent_id = ?", (agent_id,))


def count_runs(connection: Connection, scope: Clause, filters: str | None = None) -> int:
    where = compile_filter(filters)
    row = connection.execute(
        f"SELECT count(*) FROM run WHERE ({scope.sql}) AND ({where.sql})",
        (*scope.values, *where.values),
    ).fetchone()
    return int(row[0])


def create_run(
    connection: Connection, project: Project, name: str, now: float, **columns: Any
) -> Run:
    """A new run; its display name is made up unless one is given."""
    if not name or len(name) > 128 or any(c in name for c in "/\\#?%:"):
        raise Refused(f"run id {name!r}: use 1 to 128 characters without /\\#?%:")
    if not columns.get("display_name"):
        kind = "sweep-run" if columns.get("sweep_id") else "run"
        columns["display_name"] = f"{kind}-{next_run_number(connection, project.id)}"
    run_id = insert(
        connection,
        "run",
        project_id=project.id,
        name=name,
        created_at=now,
        updated_at=now,
        heartbeat_at=now,
        **{"state": "running", **columns},
    )
    run = get_run(connection, run_id)
    assert run is not None
    return run


def change_run(connection: Connection, run: Run, now: float, **columns: Any) -> Run:
    """The run after the change."""
    update(connection, "run", run.id, updated_at=now, **columns)
    changed = get_run(connection, run.id)
    assert changed is not None
    return changed


def end_run(
    connection: Connection, run: Run, state: str, now: float, exit_code: int | None = None
) -> Run:
    """Give the run its final state."""
    return change_run(connection, run, now, state=state, exit_code=exit_code, finished_at=now)


class _Written:
    """The last few long objects as they were written: made before the database is held for a
    change, and taken from here while it is."""

    def __init__(self, size: int = 4) -> None:
        self._known: OrderedDict[tuple[str, str], str | Refused] = OrderedDict()
        self._size = size
        self._lock = Lock()

    def get(self, text: str | None, what: str, write: Callable[[str | None, str], str]) -> str:
        """Raises Refused."""
        if text is None or len(text) < large_json.SHORT:
            return write(text, what)
        with self._lock:
            found = self._known.get((what, text))
        if found is None:
            try:
                found = write(text, what)
            except Refused as refusal:
                found = refusal
            with self._lock:
                self._known[what, text] = found
                while len(self._known) > self._size:
                    self._known.popitem(last=False)
        if isinstance(found, Refused):
            raise Refused(str(found), found.status)
        return found


_WRITTEN = _Written()


def normalise_object(text: str | None, what: str) -> str:
    """A client's JSON object, re-written so that SQLite can search it.

    NaN, infinities and numbers beyond a double become strings. Raises Refused for what is not an
    object, or for one too large to stand in a row that every sign of life rewrites.
    """
    if len(text or "") > MAX_OBJECT:
        raise Refused(f"{what}: longer than {MAX_OBJECT} characters; log large values as files")
    return _WRITTEN.get(text, what, _write_object)


def _write_object(text: str | None, what: str) -> str:
    return large_json.dumps(_read_object(text, what), len(text or ""))


def bounded_summary(text: str | None, what: str = "summary") -> str:
    """`normalise_object` of a summary; of one that is very large the first keys.

    The client keeps the whole in the run's file wandb-summary.json. How many keys were left out is
    said under LEFT_OUT.
    """
    return _WRITTEN.get(text, what, _write_summary)


def _write_summary(text: str | None, what: str) -> str:
    values = _read_object(text, what)
    if len(text or "") <= MAX_SUMMARY:
        return large_json.dumps(values, len(text or ""))
    kept: dict[str, Any] = {}
    room = MAX_SUMMARY
    for key in sorted(values, key=lambda key: not key.startswith("_")):  # the client's own first
        size = len(key) + len(large_json.dumps(values[key], large_json.SHORT)) + 8
        if size <= room:
            kept[key], room = values[key], room - size
    kept[LEFT_OUT] = len(values) - len(kept)
    return large_json.dumps(kept, MAX_SUMMARY)


def _read_object(text: str | None, what: str) -> dict[str, Any]:
    try:
        value = large_json.loads(text or "{}")
        if value is not None and not isinstance(value, dict):
            raise Refused(f"{what}: expected a JSON object")
        found: dict[str, Any] = finite_tree(value or {})
        return found
    except (ValueError, RecursionError):
        raise Refused(f"{what}: this is not JSON") from None
