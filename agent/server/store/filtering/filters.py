"""The client's MongoDB-like run filters and sort orders, compiled to SQL.

Values are always bound, never pasted; names are looked up in a table or bound as JSON paths.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agent.server.refusals import Refused
from agent.server.store.filtering.patterns import compile_pattern
from agent.server.store.sampling import finite

MAX_DEPTH = 12
MAX_CLAUSES = 300  # SQLite's own limit on nested expressions is not far above
MAX_VALUES = 10_000
MAX_TAGS = 100
EXACT = 2**53  # larger whole numbers may be equal as floats
MAX_ORDERS = 8
_COLUMNS = {
    "name": "run.name",
    "displayname": "run.display_name",
    "state": "run.state",
    "group": "run.group_name",
    "groupname": "run.group_name",
    "jobtype": "run.job_type",
    "notes": "run.notes",
    "description": "run.description",
    "host": "run.host",
    "commit": "run.commit_hash",
    "exitcode": "run.exit_code",
    "historylinecount": "run.history_lines",
    "sweep": "(SELECT name FROM sweep WHERE sweep.id = run.sweep_id)",
    "username": "(SELECT entity FROM project WHERE project.id = run.project_id)",
    "user": "(SELECT entity FROM project WHERE project.id = run.project_id)",
    "entity": "(SELECT entity FROM project WHERE project.id = run.project_id)",
    "project": "(SELECT name FROM project WHERE project.id = run.project_id)",
}
_DURATION = "max(coalesce(run.finished_at, run.heartbeat_at) - run.created_at, 0)"
_COLUMNS |= {"id": "run.name", "duration": _DURATION, "runtime": _DURATION}
_MOMENTS = {
    "createdat": "run.created_at",
    "updatedat": "run.updated_at",
    "heartbeatat": "run.heartbeat_at",
    "stoppedat": "run.finished_at",
}
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


@dataclass(frozen=True, slots=True)
class Clause:
    """A piece of SQL and the values to bind to it."""

    sql: str
    values: tuple[Any, ...] = ()


EVERYTHING = Clause("1")


def compile_filter(text: str | None) -> Clause:
    """The WHERE clause of a JSON filter. Raises Refused for what cannot be understood."""
    if not text:
        return EVERYTHING
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("filters: this is not JSON") from None
    if tree is None:
        return EVERYTHING
    return _group(tree, 0)


def compile_order(text: str | None) -> str:
    """ORDER BY text for an order such as "+created_at" or "-summary_metrics.loss"."""
    terms = []
    for part in (text or "+created_at").split(",")[:MAX_ORDERS]:
        part = part.strip()
        direction = "DESC" if part.startswith("-") else "ASC"
        field = _field(part.lstrip("+-"))
        # ORDER BY takes its paths as SQL strings, so that its terms can be repeated.
        pieces = field.sql.split("?")
        quoted = ["'" + str(value).replace("'", "''") + "'" for value in field.values]
        sql = pieces[0] + "".join(a + b for a, b in zip(quoted, pieces[1:], strict=True))
        goal = "maximize" if direction == "DESC" else "minimize"
        number = f"as_number({sql}, '{goal}')"
        terms.append(f"{number} IS NULL, {number} {direction}, {sql} IS NULL, {sql} {direction}")
    return ", ".join([*terms, "run.id"])


def _group(tree: Any, depth: int) -> Clause:
    if depth > MAX_DEPTH:
        raise Refused(f"filters: nested more than {MAX_DEPTH} deep")
    if not isinstance(tree, dict):
        raise Refused(f"filters: expected an object, got {json.dumps(tree)[:80]}")
    parts = []
    for key, value in tree.items():
        if key in ("$and", "$or", "$nor"):
            parts.append(_combine(key, value, depth))
        elif key == "$not":
            inner = _group(value, depth + 1)
            parts.append(Clause(f"NOT ({inner.sql})", inner.values))
        else:
            parts.append(_condition(key, value, depth))
    return _join(" AND ", parts)


def _combine(key: str, members: Any, depth: int) -> Clause:
    if not isinstance(members, list):
        raise Refused(f"filters: {key} needs a list")
    if len(members) > MAX_CLAUSES:
        raise Refused(f"filters: more than {MAX_CLAUSES} conditions in one place")
    if not members:
        return EVERYTHING
    joined = _join(" AND " if key == "$and" else " OR ", [_group(m, depth + 1) for m in members])
    return Clause(f"NOT ({joined.sql})", joined.values) if key == "$nor" else joined


def _join(word: str, parts: list[Clause]) -> Clause:
    if not parts:
        return EVERYTHING
    if len(parts) > MAX_CLAUSES:
        raise Refused(f"filters: more than {MAX_CLAUSES} conditions in one place")
    sql = word.join(f"({part.sql})" for part in parts)
    return Clause(sql, tuple(value for part in parts for value in part.values))


def _condition(key: str, value: Any, depth: int) -> Clause:
    if key == "tags" or key.startswith("tags."):
        return _tags(value)
    field = _field(key)
    convert = _epoch if key.replace("_", "").lower() in _MOMENTS else _plain
    if not (isinstance(value, dict) and any(name.startswith("$") for name in value)):
        return _equals(field, convert(value))
    return _join(" AND ", [_operate(field, op, v, convert, depth) for op, v in value.items()])


def _operate(
    field: Clause, op: str, value: Any, convert: Callable[[Any], Any], depth: int
) -> Clause:
    if op in _COMPARISONS:
        return _compare(field, op, convert(value))
    if op in ("$eq", "$ne"):
        return _unless(op == "$ne", _equals(field, convert(value)))
    if op in ("$in", "$nin") and isinstance(value, list) and len(value) <= MAX_VALUES:
        return _unless(op == "$nin", _is_among(field, [convert(item) for item in value]))
    if op == "$regex":
        compile_pattern(str(value))  # refused here, where the client gets the reason
        return Clause(f"{field.sql} REGEXP ?", (*field.values, str(value)))
    if op == "$exists":
        return Clause(f"{field.sql} IS {'NOT ' if value else ''}NULL", field.values)
    if op == "$not" and isinstance(value, dict) and depth < MAX_DEPTH:
        inner = [_operate(field, name, item, convert, depth + 1) for name, item in value.items()]
        joined = _join(" AND ", inner)
        return Clause(f"NOT ({joined.sql})", joined.values)
    raise Refused(f"filters: operator {op!r} is not supported")


def _unless(is_negated: bool, clause: Clause) -> Clause:
    return Clause(f"NOT ({clause.sql})", clause.values) if is_negated else clause


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equals(field: Clause, operand: Any) -> Clause:
    if _is_number(operand):
        return _is_among(field, [operand])
    return Clause(f"{field.sql} IS ?", (*field.values, operand))


def _is_among(field: Clause, operands: list[Any]) -> Clause:
    """Numbers are compared as numbers, whatever the form in which a config holds them."""
    is_json = "json_extract" in field.sql
    numbers: list[Any] = []
    others: list[Any] = []
    for operand in operands:
        as_float = is_json and _is_number(operand) and abs(operand) <= EXACT
        (numbers if as_float else others).append(operand)
    sql = f"ifnull({field.sql} IN ({_marks(others)}), 0)"
    values = (*field.values, *others)
    if numbers:
        sql += f" OR ifnull(plain_number({field.sql}) IN ({_marks(numbers)}), 0)"
        values = (*values, *field.values, *map(float, numbers))
    return Clause(sql, values)


def _marks(values: list[Any]) -> str:
    return ", ".join("?" * len(values))


def _compare(field: Clause, op: str, operand: Any) -> Clause:
    """Numbers are compared with numbers and text with text, as MongoDB does: SQLite would put text,
    and NaN is stored as text, above all numbers."""
    if isinstance(operand, str):
        sql = f"ifnull(typeof({field.sql}) = 'text' AND {field.sql} {_COMPARISONS[op]} ?, 0)"
        return Clause(sql, (*field.values, *field.values, operand))
    goal = "maximize" if op.startswith("$g") else "minimize"
    sql = f"ifnull(as_number({field.sql}, '{goal}') {_COMPARISONS[op]} ?, 0)"
    return Clause(sql, (*field.values, operand))


def _tags(value: Any) -> Clause:
    has = "EXISTS (SELECT 1 FROM json_each(run.tags) WHERE value = ?)"
    if value is None:
        return Clause("run.tags = '[]'")
    if not isinstance(value, dict):
        value = {"$all": value}
    parts = []
    for op, operand in value.items():
        members = operand if isinstance(operand, list) else [operand]
        each = [Clause(has, (_plain(member),)) for member in members[:MAX_TAGS]]
        if op in ("$in", "$eq", "$regex"):
            parts.append(_join(" OR ", each))
        elif op == "$all":
            parts.append(_join(" AND ", each))
        elif op in ("$nin", "$ne"):
            joined = _join(" OR ", each)
            parts.append(Clause(f"NOT ({joined.sql})", joined.values))
        else:
            raise Refused(f"filters: operator {op!r} is not supported for tags")
    return _join(" AND ", parts)


def _field(key: str) -> Clause:
    plain = key.replace("_", "").lower()
    if plain in _COLUMNS:
        return Clause(_COLUMNS[plain])
    if plain in _MOMENTS:
        return Clause(_MOMENTS[plain])
    head, _, rest = key.partition(".")
    head = head.replace("_", "").lower()
    if head == "config" and rest:
        inner = rest.removesuffix(".value")
        first, _, deeper = inner.partition(".")
        nested = [first, "value", *deeper.removeprefix("value.").split(".")]
        return _json_value("run.config", [inner, "value"], nested if deeper else None)
    if head in ("summarymetrics", "summary") and rest:
        nested_path = rest.split(".") if "." in rest else None
        return _json_value("run.summary", [rest], nested_path)
    raise Refused(f"filters: unknown field {key!r}")


def _json_value(column: str, literal: list[str], nested: list[str] | None) -> Clause:
    """A key may contain dots, or the dots may lead into an object: the literal key wins."""
    sql = f"json_extract({column}, ?)"
    if nested is None:
        return Clause(sql, (_path(literal),))
    return Clause(f"coalesce({sql}, {sql})", (_path(literal), _path(nested)))


def _path(names: list[str]) -> str:
    if any('"' in name or not name.isprintable() for name in names):
        raise Refused("filters: a key with quotes or control characters cannot be searched for")
    return "$" + "".join(f'."{name}"' for name in names)


def _plain(value: Any) -> Any:
    value = finite(value)  # NaN and infinities are stored as text
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value) if abs(value) < 10**300 else None
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"))
    return value


def _epoch(value: Any) -> Any:
    if not isinstance(value, str):
        return _plain(value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise Refused(f"filters: {value!r} is not a date in ISO form") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
