"""The search space of a sweep: what its parameters are, and the points of its grid.

Pure types and functions of them: the reader of sweep YAMLs builds them, and check, plan, the
server and every search ask them.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.config.values import distinct

FASTEST_NAMES = ("learning_rate", "lr")
_LOG_OF_VALUES = ("log_uniform", "q_log_uniform")  # their min and max are exponents of e


@dataclass(frozen=True)
class Choice:
    """One of listed values; a constant is a choice of one. Probabilities only matter to random."""

    values: tuple[Any, ...]
    probabilities: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Range:
    """A W&B distribution over numbers, by its W&B name and parameters."""

    distribution: str
    low: float = 0.0  # `min`; for log_uniform an exponent of e; `mu` for normal; `a` for beta
    high: float = 1.0  # `max`; for log_uniform an exponent of e; `sigma` for normal; `b` for beta
    quantum: float | None = None  # `q`: values are rounded to multiples of it


Parameter = Choice | Range
Space = Mapping[str, Parameter]  # nested parameters under dotted paths, in no particular order


def grid_order(space: Space) -> list[str]:
    """The paths from slowest to fastest: by name, the learning rate last.

    The client sorts the keys of a sweep's YAML, so the order in the file is not known to a server.
    Runs that share a training differ in anything but the learning rate, hence it varies fastest.
    """
    return sorted(space, key=lambda path: (path.rsplit(".", 1)[-1] in FASTEST_NAMES, path))


def is_grid_parameter(parameter: Parameter) -> bool:
    """Whether a grid can enumerate it: choices and whole-number or quantised ranges."""
    return isinstance(parameter, Choice) or parameter.distribution in ("int_uniform", "q_uniform")


def for_grid(parameter: Parameter) -> Parameter:
    """The parameter as a grid runs through it: every value once."""
    if not isinstance(parameter, Choice):
        return parameter
    return replace(parameter, values=distinct(parameter.values))


def grid_size(space: Space) -> int:
    """How many points the grid has."""
    return math.prod(_count(parameter) for parameter in space.values())


def grid_point(space: Space, index: int) -> dict[str, Any]:
    """The point at a place of the deterministic order; index counts from 0."""
    if not 0 <= index < grid_size(space):
        raise IndexError(f"grid point {index} of {grid_size(space)}")
    point: dict[str, Any] = {}
    order = grid_order(space)
    for path in reversed(order):
        index, place = divmod(index, _count(space[path]))
        point[path] = _value(space[path], place)
    return {path: point[path] for path in order}


def grid_points(space: Space) -> Iterator[dict[str, Any]]:
    """All points in order."""
    return (grid_point(space, index) for index in range(grid_size(space)))


def _count(parameter: Parameter) -> int:
    if isinstance(parameter, Choice):
        return len(parameter.values)
    return int((parameter.high - parameter.low) / (parameter.quantum or 1) + 1e-9) + 1


def _value(parameter: Parameter, place: int) -> Any:
    if isinstance(parameter, Choice):
        return parameter.values[place]
    value = parameter.low + (parameter.quantum or 1) * place
    return int(value) if parameter.distribution == "int_uniform" else round(value, 12)


def ends(parameter: Parameter) -> tuple[Any, ...]:
    """The values at which a parameter is checked where it has no grid: all that are listed, the
    ends of a range, the centre of a distribution without ends."""
    if isinstance(parameter, Choice):
        return distinct(parameter.values)
    low, high, name = parameter.low, parameter.high, parameter.distribution
    if name == "int_uniform":
        return int(low), int(high)
    if name.endswith("beta"):
        found: tuple[float, ...] = (low / (low + high),)
    elif name.endswith("normal"):
        found = (math.exp(low) if "log" in name else low,)
    elif name in _LOG_OF_VALUES:
        found = math.exp(low), math.exp(high)
    elif name == "inv_log_uniform":
        found = math.exp(-high), math.exp(-low)
    else:
        found = low, high
    return distinct(quantised(value, parameter) for value in found)


def quantised(value: float, parameter: Range) -> float | int:
    """The multiple of the range's quantum next to a value, whole where the quantum is."""
    if parameter.quantum is None:
        return value
    value = round(value / parameter.quantum) * parameter.quantum
    if parameter.distribution in ("q_uniform", "q_log_uniform_values"):
        value = min(max(value, parameter.low), parameter.high)
    is_whole = float(parameter.quantum).is_integer() and float(value).is_integer()
    return int(value) if is_whole else round(value, 12)


def nested_point(flat: Mapping[str, Any], nested: Collection[str]) -> dict[str, Any]:
    """Paths of nested parameters become objects again; a dot in a plain name stays a dot."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        if path not in nested:
            tree[path] = value
            continue
        *parents, leaf = path.split(".")
        branch = tree
        for name in parents:
            branch = branch.setdefault(name, {})
        branch[leaf] = value
    return tree


_MISSING = object()


def flat_point(tree: Mapping[str, Any], space: Space, nested: Collection[str]) -> dict[str, Any]:
    """The inverse of `nested_point`, for the paths of the space that the tree has; nulls count."""
    flat: dict[str, Any] = {}
    for path in space:
        value: Any = tree
        for name in path.split(".") if path in nested else [path]:
            value = value.get(name, _MISSING) if isinstance(value, Mapping) else _MISSING
        if value is not _MISSING:
            flat[path] = value
    return flat
