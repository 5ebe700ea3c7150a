"""Sweep YAMLs: reading them strictly, expanding their grids, checking them before W&B does.

YAML forgives what a study cannot: a key given twice silently wins last, and `on` is a boolean.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from agent.config import variants
from agent.config.run_config import RunConfig
from agent.errors import ConfigError

METHODS = ("grid", "random", "bayes", "custom")
MAX_CHECKED_POINTS = 10_000  # a larger grid is checked on its first points and said so


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice in one mapping."""


def _mapping_without_duplicates(
    loader: _StrictLoader, node: yaml.MappingNode
) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        try:
            repeated = key in seen
            seen.add(key)
        except TypeError:
            raise yaml.constructor.ConstructorError(
                None, None, "a key must be a plain word", key_node.start_mark
            ) from None
        if repeated:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is given twice", key_node.start_mark
            )
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates
)


def load(path: Path) -> dict[str, object]:
    """The sweep of one YAML file. ConfigError when it cannot be read as a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([f"cannot be read: {reason}"], where=str(path)) from None
    try:
        sweep = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ConfigError([" ".join(str(error).split())], where=str(path)) from None
    except RecursionError:
        raise ConfigError(["is nested too deeply to be a sweep"], where=str(path)) from None
    if not isinstance(sweep, dict):
        raise ConfigError(["is not a mapping of sweep keys"], where=str(path))
    return {str(key): value for key, value in sweep.items()}


def parameters_of(sweep: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """The parameters as W&B reads them: each a mapping with value, values or a distribution."""
    raw = sweep.get("parameters")
    if not isinstance(raw, Mapping):
        return {}
    return {
        str(name): dict(spec) if isinstance(spec, Mapping) else {"value": spec}
        for name, spec in raw.items()
    }


def swept_keys(sweep: Mapping[str, object]) -> tuple[str, ...]:
    """The parameters that can take more than one value."""
    return tuple(
        name
        for name, spec in parameters_of(sweep).items()
        if "value" not in spec and _candidates(spec) != [None] and len(_candidates(spec)) > 1
    )


def grid_points(sweep: Mapping[str, object]) -> Iterator[dict[str, object]]:
    """Every combination of the parameters' values, the last parameter varying fastest.

    A parameter with a distribution instead of values contributes its ends: enough to check it.
    Where a function proposes the points (`scheduler.search_space`), pairs of variant and
    quantisation that are no cell are left out, as that function leaves them out.
    """
    parameters = parameters_of(sweep)
    columns = [_candidates(spec) for spec in parameters.values()]
    for combination in itertools.product(*columns):
        point = dict(zip(parameters, combination, strict=True))
        if not (_has_own_space(sweep) and _is_no_cell(point)):
            yield point


def _has_own_space(sweep: Mapping[str, object]) -> bool:
    scheduler = sweep.get("scheduler")
    return isinstance(scheduler, Mapping) and bool(scheduler.get("search_space"))


def _is_no_cell(point: Mapping[str, object]) -> bool:
    variant, strategy = point.get("model_variant"), point.get("quantization_strategy") or "None"
    known = variant in variants.model_variants() and strategy in variants.quantization_strategies()
    return known and strategy not in variants.strategies_of(str(variant))


def _candidates(spec: Mapping[str, object]) -> list[object]:
    if "value" in spec:
        return [spec["value"]]
    values = spec.get("values")
    if isinstance(values, list):
        return values
    ends = [spec[end] for end in ("min", "max") if end in spec]
    if str(spec.get("distribution", "")) in ("log_uniform", "q_log_uniform"):  # ends are exponents
        return [math.exp(float(str(end))) for end in ends]
    if ends:
        return ends
    return [spec[centre] for centre in ("mu",) if centre in spec]


def check(path: Path, *, files: bool = True) -> tuple[int, list[str]]:
    """Grid points of a sweep YAML (0 when it has no finite grid) and all its problems.

    With `files`, local files that the points name must exist too.
    """
    try:
        sweep = load(path)
    except ConfigError as error:
        return 0, list(error.problems)
    problems = list(_sweep_problems(sweep))
    points = list(itertools.islice(grid_points(sweep), MAX_CHECKED_POINTS))
    faults: dict[str, int] = {}
    for point in points:
        found, _ = RunConfig.violations(point, files=files)
        for text in found:
            faults[text] = faults.get(text, 0) + 1
    total = len(points)
    for text, count in faults.items():
        problems.append(text if total == 1 else f"{text} ({count} of {total} grid points)")
    return (total if sweep.get("method") == "grid" else 0), problems


def configs(sweep: Mapping[str, object], *, where: str = "the sweep") -> list[RunConfig]:
    """A RunConfig for every grid point. ConfigError that names every violation."""
    problems: dict[str, None] = {}
    built: list[RunConfig] = []
    for point in grid_points(sweep):
        found, config = RunConfig.violations(point)
        problems.update(dict.fromkeys(found))
        if config is not None:
            built.append(config)
    if problems:
        raise ConfigError(problems, where=where)
    return built


def _sweep_problems(sweep: Mapping[str, object]) -> Iterable[str]:
    method = sweep.get("method")
    if method not in METHODS:
        yield f"method = {method!r}: must be one of " + ", ".join(METHODS)
    program = sweep.get("program")
    if program is None and "command" not in sweep:
        yield "program is missing: the script an agent runs, here train.py"
    yield from _metric_problems(sweep.get("metric"), needed=method == "bayes")
    if not isinstance(sweep.get("parameters"), Mapping) or not sweep["parameters"]:
        yield "parameters is missing: a mapping of config keys to value, values or a distribution"
    for name, spec in parameters_of(sweep).items():
        if name not in RunConfig.model_fields and not name.startswith("_"):
            continue  # RunConfig names it, with the nearest known key
        if not _candidates(spec):
            yield f"parameters.{name}: needs value, values, or min and max"
        elif method == "grid" and "value" not in spec and "values" not in spec:
            yield f"parameters.{name}: a grid needs value or values, not a distribution"


def _metric_problems(metric: object, *, needed: bool) -> Iterable[str]:
    if metric is None:
        if needed:
            yield "metric is missing: bayes needs a name and a goal"
        return
    if not isinstance(metric, Mapping) or "name" not in metric:
        yield "metric needs a name, here validation/f1_score"
        return
    if metric.get("goal", "minimize") not in ("maximize", "minimize"):
        yield f"metric.goal = {metric['goal']!r}: must be maximize or minimize"
    name = str(metric["name"])
    if "f1" in name and metric.get("goal", "minimize") != "maximize":
        yield f"metric {name} is to be maximised; W&B minimises unless goal: maximize is given"
