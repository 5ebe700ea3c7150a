"""When two values of a config are one value: numbers compared as numbers, however written.

A value travels as YAML, JSON and Python, and each writes it in its own way: 1.0 comes back as 1,
and YAML 1.1 reads 2e-4, which has no point, as text.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

_EXPONENT_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
LARGEST_WHOLE = 2**63 - 1  # what a database and other languages can hold


def read_number(value: Any) -> int | float | None:
    """The finite number that a value is; also text such as 1e-5, which YAML 1.1 does not read as a
    number. None for anything else, for booleans and for whole numbers of more than 64 bits."""
    if isinstance(value, str) and _EXPONENT_NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value if abs(value) <= LARGEST_WHOLE else None
    return value if math.isfinite(value) else None


def number_text(value: float) -> str:
    """A setting for people, in six digits at most: `0.0003`, `3e-5`, `2`. Everywhere the same, in a
    run's name as in every table."""
    digits, _, power = f"{value:g}".partition("e")
    return f"{digits}e{int(power)}" if power else digits


def point_text(point: Mapping[str, Any]) -> str:
    """A point's values in one stable line: its identity where runs compete. Other digits than
    these would part it from what is stored."""
    parts = [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in sorted(point.items())
    ]
    return " ".join(parts)


def read_whole(value: Any) -> int | None:
    """The whole number that a value is, 4.0 included (JSON knows one kind of number)."""
    number = read_number(value)
    return int(number) if number is not None and number == int(number) else None


def canonical(value: Any) -> Any:
    """The same JSON value for all ways of writing a value."""
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, str):
        number = read_number(value)
        return value if number is None else canonical(number)
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    return value


def value_key(value: Any) -> str:
    """Equal for equal values, and only for them: 1, 1.0 and 1e0 are one value, true is another."""
    return json.dumps(canonical(value), sort_keys=True, ensure_ascii=False)


def digest_of(config: Mapping[str, Any]) -> str:
    """Names a config, whatever the order of its keys and the form of its numbers."""
    return hashlib.sha256(value_key(config).encode("utf-8", "surrogatepass")).hexdigest()


def distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    """The values without repetitions; of several forms of one value the first stays."""
    found: dict[str, Any] = {}
    for value in values:
        found.setdefault(value_key(value), value)
    return tuple(found.values())


def json_fault(value: Any) -> str | None:
    """Why a value cannot be handed to a run as JSON; None if it can."""
    if value is None or isinstance(value, bool | str):
        return None
    if isinstance(value, int):
        too_large = abs(value) > LARGEST_WHOLE
        return f"{str(value)[:30]}… has more than 64 bits" if too_large else None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is not a finite number; quote it"
    if isinstance(value, list):
        return next((fault for item in value if (fault := json_fault(item))), None)
    if isinstance(value, dict):
        odd = next((key for key in value if not isinstance(key, str)), None)
        if odd is not None:
            return f"the key {odd!r} is not text; quote it"
        return next((fault for item in value.values() if (fault := json_fault(item))), None)
    return f"{value} is read by YAML as a {type(value).__name__}; quote it to make it text"
