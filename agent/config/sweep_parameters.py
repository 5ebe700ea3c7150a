"""The `parameters` of a sweep, read as W&B documents them, with every fault named.

Each distribution takes its own keys and no others, as W&B's published schema has it.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from agent.config.rules import unknown_name
from agent.config.search_space import Choice, Parameter, Range
from agent.config.values import json_fault, read_number, read_whole

MAX_NESTING = 20
MAX_PARAMETERS = 500
LARGEST = 1e200  # beyond it, and below SMALLEST, quotients and powers of numbers overflow
SMALLEST = 1e-100
LARGEST_EXPONENT = 460.0  # of e, about LARGEST
SMALLEST_QUANTUM = 1e-12  # values are rounded to so many digits
TAIL = 6.0  # standard deviations that a draw reaches at most
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")  # W&B's schema
_BOUNDS = {
    "int_uniform": ("min", "max"),
    "uniform": ("min", "max"),
    "q_uniform": ("min", "max"),
    "log_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
    "q_log_uniform": ("min", "max"),
    "q_log_uniform_values": ("min", "max"),
    "inv_log_uniform": ("min", "max"),
    "inv_log_uniform_values": ("min", "max"),
    "normal": ("mu", "sigma"),
    "q_normal": ("mu", "sigma"),
    "log_normal": ("mu", "sigma"),
    "q_log_normal": ("mu", "sigma"),
    "beta": ("a", "b"),
    "q_beta": ("a", "b"),
}
_PLAIN_ENDS = ("uniform", "int_uniform", "log_uniform_values")  # min and max as they stand
_DEFAULTS = {"mu": 0.0, "sigma": 1.0, "a": 1.0, "b": 1.0}
_LISTED = {
    "constant": ("value",),
    "categorical": ("values",),
    "categorical_w_probabilities": ("values", "probabilities"),
}
_KEYS = (*_DEFAULTS, "value", "values", "probabilities", "min", "max", "q", "distribution")


@dataclass
class Reading:
    """What has been read of the parameters so far, and what is wrong with them."""

    space: dict[str, Parameter] = field(default_factory=dict)
    nested: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # valid here, but not to W&B's cloud


def read_parameters(given: Any) -> Reading:
    """The whole `parameters` section."""
    reading = Reading()
    _read_level(given, "", reading)
    if len(reading.space) > MAX_PARAMETERS:
        reading.problems.append(f"parameters: more than {MAX_PARAMETERS} entries")
    return reading


def _read_level(given: Any, prefix: str, reading: Reading) -> None:
    where = f"parameters.{prefix}".rstrip(".")
    if not isinstance(given, dict) or not given:
        reading.problems.append(f"{where}: needs a mapping with at least one parameter")
        return
    if prefix.count(".") > MAX_NESTING:
        reading.problems.append(f"{where}: nested more than {MAX_NESTING} deep")
        return
    for name, entry in given.items():
        path = f"{prefix}{name}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            reading.problems.append(
                f"{where}: the name {name!r} must be letters, digits, '_', '-' and '.', and "
                "begin with a letter or '_'"
            )
        elif not isinstance(entry, dict):
            reading.problems.append(f"parameters.{path}{_bare_value(entry)}")
        elif "parameters" in entry:
            for key in entry.keys() - {"parameters"}:
                reading.problems.append(
                    f"parameters.{path}.{key}: a nested parameter takes only parameters"
                )
            _read_level(entry["parameters"], f"{path}.", reading)
        elif path in reading.space:
            reading.problems.append(f"parameters.{path}: is given twice, nested and with a dot")
        else:
            parameter = _read_parameter(entry, f"parameters.{path}", reading)
            if parameter is not None:
                reading.space[path] = parameter
                reading.nested.update([path] if prefix else [])


def _bare_value(entry: Any) -> str:
    """What is wrong with a parameter that is not a mapping, and the mapping that may be meant."""
    shown = str(entry)[:40]
    if entry is None:
        return " is empty: needs a mapping, here {value: 1} or {values: [1, 2]}"
    key = "values" if isinstance(entry, list) else "value"
    return f" = {shown!r}: needs a mapping, here {{{key}: {shown}}}"


def _read_parameter(entry: dict[Any, Any], where: str, reading: Reading) -> Parameter | None:
    name = entry.get("distribution") if "distribution" in entry else _distribution_of(entry)
    if name is None:
        reading.problems.append(
            f"{where}: needs value, values, or min and max (or a distribution){_hint(entry)}"
        )
        return None
    if not isinstance(name, str) or (name not in _LISTED and name not in _BOUNDS):
        fault = unknown_name(str(name), [*_LISTED, *_BOUNDS], "distribution")
        reading.problems.append(f"{where}.distribution: {fault}")
        return None
    before = len(reading.problems)
    _check_keys(entry, name, where, reading.problems)
    if name in _LISTED:
        found: Parameter | None = _read_choice(entry, name, where, reading.problems)
    else:
        found = _read_range(entry, name, where, reading)
    # A faulty bound stays, so that the study's rules name their faults of it in the same report.
    return found if len(reading.problems) == before or name in _PLAIN_ENDS else None


def _distribution_of(entry: dict[Any, Any]) -> str | None:
    """The distribution that the keys imply, as W&B's documentation has it."""
    if "value" in entry:
        return "constant"
    if "values" in entry:
        return "categorical_w_probabilities" if "probabilities" in entry else "categorical"
    if "min" in entry and "max" in entry:
        whole = all(type(entry[end]) is int for end in ("min", "max"))
        return "int_uniform" if whole else "uniform"
    return None


def _hint(entry: Iterable[Any]) -> str:
    unknown = [str(key) for key in entry if key not in _KEYS]
    return f"; {unknown_name(unknown[0], _KEYS, 'key')}" if unknown else ""


def _check_keys(entry: Iterable[Any], name: str, where: str, problems: list[str]) -> None:
    known = _LISTED[name] if name in _LISTED else _BOUNDS[name]
    known = (*known, "distribution", *(["q"] if name.startswith("q_") else []))
    for key in entry:
        if key in known:
            continue
        if key in _KEYS:
            problems.append(f"{where}.{key}: {name} takes only {', '.join(known)}")
        else:
            problems.append(f"{where}: {unknown_name(str(key), known, 'key')}")


def _read_choice(
    entry: dict[Any, Any], name: str, where: str, problems: list[str]
) -> Choice | None:
    if name == "constant":
        if "value" not in entry:
            problems.append(f"{where}: a constant needs a value")
        elif fault := json_fault(entry["value"]):
            problems.append(f"{where}.value: {fault}")
        return Choice((entry.get("value"),))
    values = entry.get("values")
    if not isinstance(values, list) or not values:
        problems.append(f"{where}.values: needs a list with at least one value")
        return None
    if fault := json_fault(values):
        problems.append(f"{where}.values: {fault}")
    if name == "categorical":
        return Choice(tuple(values))
    given = entry.get("probabilities")
    weights = [read_number(w) for w in given] if isinstance(given, list) else []
    if len(weights) != len(values):
        problems.append(f"{where}.probabilities: needs one number for each of {len(values)} values")
        return None
    shares = tuple(float(weight) for weight in weights if weight is not None and weight >= 0)
    if len(shares) < len(weights) or not math.isclose(sum(shares), 1, abs_tol=1e-5):
        problems.append(f"{where}.probabilities: must be numbers of at least 0 that sum to 1")
    return Choice(tuple(values), shares)


def _read_range(entry: dict[Any, Any], name: str, where: str, reading: Reading) -> Range | None:
    problems = reading.problems
    before = len(problems)
    first, second = _BOUNDS[name]
    wanted = {first: entry.get(first, _DEFAULTS.get(first))}
    wanted[second] = entry.get(second, _DEFAULTS.get(second))
    if name.startswith("q_"):
        wanted["q"] = entry.get("q", 1)
    numbers: dict[str, float] = {}
    for key, value in wanted.items():
        number = read_number(value)
        if value is None:
            problems.append(f"{where}.{key} is missing: {name} needs a number there")
        elif number is None:
            problems.append(f"{where}.{key} = {str(value)[:40]!r}: {name} needs a number")
        elif name == "int_uniform" and read_whole(value) is None:
            problems.append(f"{where}.{key} = {value!r}: int_uniform needs a whole number")
        elif isinstance(value, str):
            reading.notes.append(
                f"{where}.{key}: YAML 1.1, and with it W&B's cloud, reads {value} as text; write "
                f"{_with_point(value)}"
            )
        numbers[key] = math.nan if number is None else float(number)
    if len(problems) > before:
        return None
    low, high = numbers[first], numbers[second]
    problems.extend(f"{where}.{fault}" for fault in _faults_of_bounds(name, low, high))
    if not SMALLEST_QUANTUM <= numbers.get("q", 1) <= LARGEST:
        problems.append(
            f"{where}.q = {wanted['q']!r}: must be a number above 0, at least {SMALLEST_QUANTUM:g}"
        )
    if name in ("log_uniform", "q_log_uniform", "inv_log_uniform"):
        reading.notes.append(f"{where}: min and max are exponents of e; {name}_values takes values")
    return Range(name, low, high, numbers.get("q"))


def _faults_of_bounds(name: str, low: float, high: float) -> Iterable[str]:
    first, second = _BOUNDS[name]
    for key, value in ((first, low), (second, high)):
        if abs(value) > LARGEST:
            yield f"{key} = {value:g}: must lie within ±{LARGEST:g}"
    if first == "min":
        if low >= high:
            yield f"min = {low:g}: min {low:g} must be below max {high:g}"
        if name.endswith("log_uniform_values") and low < SMALLEST:
            yield f"min = {low:g}: {name} needs a value above 0, at least {SMALLEST:g}"
        if name.endswith("log_uniform") and max(abs(low), abs(high)) > LARGEST_EXPONENT:
            yield (
                f"max = {high:g}: {name} takes exponents of e, at most {LARGEST_EXPONENT:g}; "
                f"{name}_values takes values"
            )
    elif first == "mu":
        if high < 0:
            yield f"sigma = {high:g}: must be at least 0"
        if "log" in name and low + TAIL * high > LARGEST_EXPONENT:
            yield f"mu = {low:g}: e to the power of mu + {TAIL:g} sigma is too large for a number"
    elif first == "a":
        for key, value in ((first, low), (second, high)):
            if value <= 0:
                yield f"{key} = {value:g}: must be above 0"


def _with_point(text: str) -> str:
    """The number of a text such as 1e-5 as YAML 1.1 reads it: with a point and a sign."""
    mantissa, _, exponent = text.lower().partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{mantissa}e{exponent if exponent[0] in '+-' else '+' + exponent}"
