"""Choosing history rows: evenly spaced samples, and the rows that have certain keys. Pure."""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from agent.server.store.large_json import loads

T = TypeVar("T")
DEFAULT_SAMPLES = 500
MAX_KEYS = 2_000  # of a summary or config that a page reads
LARGEST = int(sys.float_info.max)
# What a JSON text with a number that is not finite, or too large for a double, has in it.
_MAY_BE_ODD = re.compile(r"NaN|Infinity|[0-9]{300}|[eE]\+?[0-9]{3}")


@dataclass(frozen=True, slots=True)
class SampleSpec:
    """What the client asks of `sampledHistory`; `max_step` is inclusive."""

    keys: tuple[str, ...]
    samples: int
    min_step: int | None
    max_step: int | None

    @classmethod
    def of(cls, text: str) -> "SampleSpec":
        given = json.loads(text)
        given = given if isinstance(given, dict) else {}
        return cls(
            tuple(dict.fromkeys(str(key) for key in given.get("keys") or ())),
            int(given.get("samples") or DEFAULT_SAMPLES),
            None if given.get("minStep") is None else int(given["minStep"]),
            None if given.get("maxStep") is None else int(given["maxStep"]),
        )


def spread(rows: Sequence[T], count: int | None) -> list[T]:
    """At most `count` rows, evenly spaced, always with the first and the last."""
    if count is None or len(rows) <= count:
        return list(rows)
    if count <= 1:
        return list(rows[-1:]) if count == 1 else []
    last = len(rows) - 1
    return [rows[round(i * last / (count - 1))] for i in range(count)]


def select_rows(rows: Sequence[dict[str, Any]], spec: SampleSpec) -> list[dict[str, Any]]:
    """Rows that have every wanted key, reduced to those keys, sampled."""
    chosen = []
    for row in rows:
        step = row.get("_step", 0)
        if not isinstance(step, int | float):
            continue
        if spec.min_step is not None and step < spec.min_step:
            continue
        if spec.max_step is not None and step > spec.max_step:
            continue
        if not spec.keys:
            chosen.append({key: finite(value) for key, value in row.items()})
            continue
        found = {key: value_at(row, key) for key in spec.keys}
        if all(value is not None for value in found.values()):
            chosen.append({key: finite(value) for key, value in found.items()})
    return spread(chosen, spec.samples)


def read_row(line: str) -> dict[str, Any] | None:
    """A line of a history, None for what is not a JSON object."""
    try:
        row = loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def read_object(text: str, max_keys: int | None = None) -> dict[str, Any]:
    """A stored JSON object with finite numbers; empty for what is none.

    Of more than `max_keys` the first, those of a group (`final/f1_score`) before others.
    """
    found = read_row(text) or {}
    if max_keys is not None and len(found) > max_keys:
        first = sorted(found, key=lambda key: "/" not in key)[:max_keys]
        found = {key: found[key] for key in first}
    whole: dict[str, Any] = finite_tree(found) if _MAY_BE_ODD.search(text) else found
    return whole


def value_at(row: dict[str, Any], key: str) -> Any:
    """The value under a key, whose dots may lead into nested objects."""
    if key in row:
        return row[key]
    value: Any = row
    for name in key.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they are answered as strings, as W&B does.

    A whole number beyond every double is an infinity to readers of numbers.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, float) and value != value:
        return "NaN"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def finite_tree(value: Any) -> Any:
    """A JSON value with every number in it `finite`."""
    if isinstance(value, dict):
        return {key: finite_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_tree(item) for item in value]
    return finite(value)


def to_json(answer: Any) -> bytes:
    """JSON that every client can read: what is stored may hold what JSON lacks."""
    try:
        text = json.dumps(answer, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(finite_tree(answer), separators=(",", ":"))
    return text.encode("ascii")
