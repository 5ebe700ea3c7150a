"""A sweep's YAML: every violation found at once, then read into types."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

import yaml

from agent.errors import ConfigError
from agent.search.proposals import Choice, Parameter, Range, is_grid_parameter

METHODS = ("grid", "random", "bayes", "custom")
MAX_NESTING = 20
MAX_TEXT = 128 * 1024
MAX_ENTRIES = 3000  # so many values take the YAML reader a tenth of a second
MAX_BRACKETS = 100
MAX_PARAMETERS = 500
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
_DEFAULTS = {"mu": 0.0, "sigma": 1.0}
_LISTED = ("constant", "categorical", "categorical_w_probabilities")


@dataclass(frozen=True)
class Hyperband:
    """`early_terminate`: at which iterations runs are compared, and how many survive."""

    eta: float
    bands: tuple[int, ...]
    is_strict: bool


@dataclass(frozen=True)
class SweepConfig:
    """A valid sweep."""

    method: str
    space: dict[str, Parameter] = field(default_factory=dict)
    metric: str | None = None
    goal: Literal["minimize", "maximize"] = "minimize"
    run_cap: int | None = None
    hyperband: Hyperband | None = None
    program: str | None = None
    has_scheduler: bool = False  # points come from the client's own `wandb sweep-scheduler`
    nested: frozenset[str] = frozenset()  # dotted paths that came from nested parameters


def parse_sweep(text: str) -> SweepConfig:
    """Read a sweep. Raises ConfigError with every violation."""
    given = _load(text)
    if not isinstance(given, dict):
        raise ConfigError(["expected a mapping with method and parameters"], where="the sweep")
    problems: list[str] = []
    method = given.get("method", "custom" if given.get("scheduler") else None)
    if method not in METHODS:
        problems.append(f"method: {method!r} is not one of {', '.join(METHODS)}")
    space: dict[str, Parameter] = {}
    nested: set[str] = set()
    _read_parameters(given.get("parameters"), "", space, nested, problems, method)
    if len(space) > MAX_PARAMETERS:
        problems.append(f"parameters: more than {MAX_PARAMETERS}")
    metric, goal = _read_metric(given.get("metric"), method, problems)
    if method == "grid":
        problems.extend(
            f"parameters.{path}: a grid needs values, a constant, int_uniform or q_uniform"
            for path, parameter in space.items()
            if not is_grid_parameter(parameter)
        )
    hyperband = _read_early_terminate(given.get("early_terminate"), metric, problems)
    run_cap = given.get("run_cap")
    if run_cap is not None and not (_is_whole(run_cap) and run_cap >= 1):
        problems.append(f"run_cap: {run_cap!r} is not a whole number of at least 1")
    command = given.get("command")
    if command is not None and not isinstance(command, list):
        problems.append("command: expected a list of words")
    program = given.get("program")
    if program is not None and not isinstance(program, str):
        problems.append(f"program: {program!r} is not text")
    if problems:
        raise ConfigError(problems, where="the sweep")
    return SweepConfig(
        str(method),
        space,
        metric,
        goal,
        run_cap,
        hyperband,
        program,
        bool(given.get("scheduler")),
        frozenset(nested),
    )


# Ten times as fast where PyYAML was built with libyaml.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _load(text: str) -> Any:
    """YAML within limits. Raises ConfigError."""
    problem = None
    if len(text) > MAX_TEXT:
        problem = f"longer than {MAX_TEXT} characters"
    elif sum(map(text.count, ":,-")) > MAX_ENTRIES * 2 or text.count(":") > MAX_ENTRIES:
        problem = f"more than {MAX_ENTRIES} entries"
    elif _bracket_depth(text) > MAX_BRACKETS:
        problem = f"nested more than {MAX_BRACKETS} deep"
    if problem is None:
        try:
            if "*" in text and any(
                isinstance(e, yaml.AliasEvent) for e in yaml.parse(text, _Loader)
            ):
                # With aliases a few lines can stand for more values than memory holds.
                raise yaml.YAMLError("aliases (*name) are not allowed in a sweep")
            return yaml.load(text, _Loader)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            problem = f"this is not YAML: {' '.join(str(error).split())[:200]}"
    raise ConfigError([problem], where="the sweep")


def _bracket_depth(text: str) -> int:
    deepest = depth = 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return deepest


def _read_metric(
    given: Any, method: Any, problems: list[str]
) -> tuple[str | None, Literal["minimize", "maximize"]]:
    if given is None:
        if method == "bayes":
            problems.append("metric: bayes needs a metric with a name")
        return None, "minimize"
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        problems.append("metric: expected a mapping with a name")
        return None, "minimize"
    goal = given.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        problems.append(f"metric.goal: {goal!r} is neither minimize nor maximize")
    return given["name"], "maximize" if goal == "maximize" else "minimize"


def _read_parameters(
    given: Any,
    prefix: str,
    space: dict[str, Parameter],
    nested: set[str],
    problems: list[str],
    method: Any,
) -> None:
    where = f"parameters.{prefix}".rstrip(".")
    if given is None and method == "custom":
        return
    if not isinstance(given, dict) or not given:
        problems.append(f"{where}: expected a mapping with at least one parameter")
        return
    if prefix.count(".") > MAX_NESTING:
        problems.append(f"{where}: nested more than {MAX_NESTING} deep")
        return
    for name, entry in given.items():
        path = f"{prefix}{name}"
        if not isinstance(name, str):
            problems.append(f"{where}: the name {name!r} is not text")
        elif not isinstance(entry, dict):
            problems.append(f"parameters.{path}: expected a mapping such as value, values or min")
        elif "parameters" in entry:
            _read_parameters(entry["parameters"], f"{path}.", space, nested, problems, method)
        else:
            parameter = _read_parameter(entry, f"parameters.{path}", problems)
            if parameter is not None:
                space[path] = parameter
                if prefix:
                    nested.add(path)


def _read_parameter(entry: dict[str, Any], where: str, problems: list[str]) -> Parameter | None:
    name = entry.get("distribution") or _guess_distribution(entry)
    if name in _LISTED:
        return _read_choice(entry, name, where, problems)
    if name in _BOUNDS:
        return _read_range(entry, name, where, problems)
    if name is None:
        problems.append(f"{where}: give value, values, or min and max (or a distribution)")
    else:
        known = ", ".join([*_LISTED, *_BOUNDS])
        problems.append(f"{where}.distribution: {name!r} is not one of {known}")
    return None


def _guess_distribution(entry: dict[str, Any]) -> str | None:
    if "value" in entry:
        return "constant"
    if "values" in entry:
        return "categorical_w_probabilities" if "probabilities" in entry else "categorical"
    if "min" in entry and "max" in entry:
        whole = _is_whole(entry["min"]) and _is_whole(entry["max"])
        return "int_uniform" if whole else "uniform"
    return "normal" if "mu" in entry else None


def _read_choice(
    entry: dict[str, Any], name: str, where: str, problems: list[str]
) -> Choice | None:
    if name == "constant":
        if "value" not in entry:
            problems.append(f"{where}: a constant needs a value")
            return None
        return Choice((entry["value"],))
    values = entry.get("values")
    if not isinstance(values, list) or not values:
        problems.append(f"{where}.values: expected a list with at least one value")
        return None
    weights = entry.get("probabilities")
    if weights is None:
        return Choice(tuple(values))
    if not isinstance(weights, list) or len(weights) != len(values):
        problems.append(f"{where}.probabilities: expected one number for each of {len(values)}")
    elif not all(_is_number(w) and w >= 0 for w in weights) or abs(sum(weights) - 1) > 1e-6:
        problems.append(f"{where}.probabilities: expected numbers of at least 0 that sum to 1")
    else:
        return Choice(tuple(values), tuple(float(w) for w in weights))
    return None


def _read_range(entry: dict[str, Any], name: str, where: str, problems: list[str]) -> Range | None:
    before = len(problems)
    bounds: list[Any] = []
    for key in _BOUNDS[name]:
        value: Any = entry.get(key, _DEFAULTS.get(key))
        if not _is_number(value):
            problems.append(f"{where}.{key}: {name} needs a number, got {value!r}")
        elif name == "int_uniform" and not _is_whole(value):
            problems.append(f"{where}.{key}: int_uniform needs a whole number, got {value!r}")
        bounds.append(value)
    if len(problems) > before:
        return None
    low, high = bounds
    first, second = _BOUNDS[name]
    if first == "min" and low >= high and not (name == "int_uniform" and low == high):
        problems.append(f"{where}: min {low!r} must be below max {high!r}")
    if name.endswith("log_uniform_values") and low <= 0:
        problems.append(f"{where}.min: {name} needs a value above 0, got {low!r}")
    if second in ("sigma", "b") and high <= 0:
        problems.append(f"{where}.{second}: must be above 0, got {high!r}")
    if first == "a" and low <= 0:
        problems.append(f"{where}.a: must be above 0, got {low!r}")
    quantum = entry.get("q", 1 if name.startswith("q_") else None)
    if quantum is not None and not (_is_number(quantum) and quantum > 0):
        problems.append(f"{where}.q: must be a number above 0, got {quantum!r}")
    if len(problems) > before:
        return None
    return Range(name, float(low), float(high), None if quantum is None else float(quantum))


def _read_early_terminate(given: Any, metric: str | None, problems: list[str]) -> Hyperband | None:
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("type") != "hyperband":
        problems.append("early_terminate.type: only hyperband is known")
        return None
    before = len(problems)
    if metric is None:
        problems.append("early_terminate: hyperband needs a metric with a name")
    eta = given.get("eta", 3)
    if not (_is_number(eta) and eta > 1):
        problems.append(f"early_terminate.eta: must be above 1, got {eta!r}")
    names = [key for key in ("min_iter", "max_iter") if key in given]
    if len(names) != 1:
        problems.append("early_terminate: give either min_iter, or max_iter with s")
    for key in [*names, *(["s"] if "max_iter" in names else [])]:
        if not (_is_whole(given.get(key)) and given[key] >= 1):
            problems.append(f"early_terminate.{key}: needs a whole number of at least 1")
    if len(problems) > before:
        return None
    if "min_iter" in given:
        bands = [int(given["min_iter"] * eta**k) for k in range(20)]
    else:
        bands = [int(given["max_iter"] / eta**k) for k in range(given["s"], 0, -1)]
    distinct = tuple(sorted({band for band in bands if 1 <= band < 10**9}))
    return Hyperband(float(eta), distinct, bool(given.get("strict", False)))


def _is_number(value: Any) -> TypeGuard[int | float]:
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
