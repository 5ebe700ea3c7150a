"""The client's MongoDB-like filters and its orders, over values at hand. Pure.

Runs are searched in the database (`filters`); versions and collections of artifacts are few and
are searched here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from agent.server.refusals import Refused
from agent.server.store.filtering.patterns import is_match

T = TypeVar("T")
Values = Mapping[str, Any]
MAX_DEPTH = 12


def parse_filter(text: str | None) -> dict[str, Any]:
    """The filter as an object. Raises Refused."""
    try:
        tree = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise Refused("filters: this is not JSON") from None
    if tree is not None and not isinstance(tree, dict):
        raise Refused("filters: expected an object")
    return tree or {}


def matches(tree: Any, values: Values, depth: int = 0) -> bool:
    """Whether the values pass the filter. Raises Refused for what is not understood."""
    if depth > MAX_DEPTH or not isinstance(tree, dict):
        raise Refused(f"filters: expected an object, at most {MAX_DEPTH} deep")
    for key, wanted in tree.items():
        if key in ("$and", "$or", "$nor") and isinstance(wanted, list):
            found = [matches(member, values, depth + 1) for member in wanted]
            fits = all(found) if key == "$and" else any(found) if key == "$or" else not any(found)
        elif key == "$not":
            fits = not matches(wanted, values, depth + 1)
        else:
            fits = _fits(_value_of(key, values), wanted)
        if not fits:
            return False
    return True


def _value_of(key: str, values: Values) -> Any:
    plain = key.replace("_", "").lower()
    if plain not in values:
        raise Refused(f"filters: unknown field {key!r}; known: {', '.join(sorted(values))}")
    return values[plain]


def _fits(value: Any, wanted: Any) -> bool:
    if not isinstance(wanted, dict):
        return _compare(value, "$eq", wanted)
    return all(_compare(value, op, operand) for op, operand in wanted.items())


def _compare(value: Any, op: str, operand: Any) -> bool:
    held = value if isinstance(value, list) else [value]
    if op in ("$eq", "$in", "$ne", "$nin"):
        options = operand if isinstance(operand, list) else [operand]
        found = any(_same(item, option) for item in held for option in options)
        return found == (op in ("$eq", "$in"))
    if op in ("$gt", "$gte", "$lt", "$lte"):
        if not _comparable(value, operand):
            return False
        low, high = (operand, value) if op.startswith("$g") else (value, operand)
        return bool(low < high or (op.endswith("e") and low == high))
    if op == "$exists":
        return (value is not None) == bool(operand)
    if op == "$regex":
        return any(is_match(str(operand), item) for item in held)
    raise Refused(f"filters: operator {op!r} is not supported")


def _same(value: Any, other: Any) -> bool:
    """Whether two values are one JSON value: 1 and 1.0 are, 1 and true are not."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _comparable(value: Any, other: Any) -> bool:
    """Numbers are compared with numbers and text with text; a boolean is neither."""
    if isinstance(value, bool) or isinstance(other, bool):
        return False
    return (isinstance(value, int | float) and isinstance(other, int | float)) or (
        isinstance(value, str) and isinstance(other, str)
    )


def in_order(
    items: Sequence[T], order: str | None, values_of: Callable[[T], Values], default: str
) -> list[T]:
    """Sorted by an order such as "+version_index" or "-created_at", then by id."""
    chosen = list(items)
    for part in reversed((order or default).split(",")):
        part = part.strip()
        key = part.lstrip("+-")

        def rank(item: T, key: str = key) -> tuple[bool, Any, Any]:
            values = values_of(item)
            value = _value_of(key, values)
            return (value is not None, value if value is not None else 0, values["id"])

        chosen.sort(key=rank, reverse=part.startswith("-"))
    return chosen
