"""Sweep YAMLs as files: loaded, their points listed, checked for this study.

`sweep_config` reads them for everybody: check, plan, the server, search and the demo. What is valid
for a server but not for this study (no `program`, an unknown config key) is said by `check` alone.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.config import variants, yaml_text
from agent.config.run_config import RunConfig
from agent.config.search_space import (
    Choice,
    Space,
    ends,
    grid_order,
    grid_size,
    is_grid_parameter,
    nested_point,
)
from agent.config.search_space import grid_points as points_of_grid
from agent.config.sweep_config import SweepConfig, grid_faults, read_all
from agent.config.sweep_parameters import read_parameters
from agent.errors import ConfigError

MAX_CHECKED_POINTS = 10_000  # a larger grid is checked on its first points and said so
MAX_LISTED_POINTS = 100_000


def load(path: Path) -> dict[str, Any]:
    """The mapping of one YAML file. ConfigError when it cannot be read as one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([f"cannot be read: {reason}"], where=str(path)) from None
    return yaml_text.read_mapping(text, where=str(path))


# ------------------------------------------------------------------ points
def swept_keys(sweep: Mapping[str, Any]) -> tuple[str, ...]:
    """The parameters that can take more than one value."""
    return swept_paths(read_parameters(sweep.get("parameters")).space)


def swept_paths(space: Space) -> tuple[str, ...]:
    """The paths of a space that can take more than one value."""
    return tuple(
        path
        for path, parameter in space.items()
        if not isinstance(parameter, Choice) or len(ends(parameter)) > 1
    )


def grid_points(sweep: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of the parameters' values, in the order in which a server hands them out.

    A parameter with a distribution instead of values contributes its ends: enough to check it.
    Where a function proposes the points (`scheduler.search_space`), pairs of variant and
    quantisation that cannot be combined are left out, as that function leaves them out.
    ConfigError when a parameter cannot be read.
    """
    config, _ = read_all(sweep)
    faults = read_parameters(sweep.get("parameters")).problems
    if config.method == "grid":
        faults += grid_faults(config.space)
    if faults:
        raise ConfigError(faults, where=f"sweep {config.name}" if config.name else "the sweep")
    return _points(sweep, config)


def _points(sweep: Mapping[str, Any], config: SweepConfig) -> Iterator[dict[str, Any]]:
    if config.method == "grid" and all(map(is_grid_parameter, config.space.values())):
        flat = points_of_grid(config.space)
    else:
        order = grid_order(config.space)
        columns = [ends(config.space[path]) for path in order]
        combinations = itertools.islice(itertools.product(*columns), MAX_CHECKED_POINTS)
        flat = (dict(zip(order, values, strict=True)) for values in combinations if order)
    for values in flat:
        point = nested_point(values, config.nested)
        if not (_has_own_space(sweep) and _is_no_cell(point)):
            yield point


def _has_own_space(sweep: Mapping[str, Any]) -> bool:
    scheduler = sweep.get("scheduler")
    return isinstance(scheduler, Mapping) and bool(scheduler.get("search_space"))


def _is_no_cell(point: Mapping[str, Any]) -> bool:
    variant, strategy = point.get("model_variant"), point.get("quantization_strategy") or "None"
    known = variant in variants.model_variants() and strategy in variants.quantization_strategies()
    return known and strategy not in variants.strategies_of(str(variant))


# ------------------------------------------------------------------ checking for this study
def check(path: Path, *, files: bool = True) -> tuple[int, list[str]]:
    """Grid points of a sweep YAML (0 when it has no finite grid) and all its problems.

    Of more than MAX_CHECKED_POINTS only the first are checked. With `files`, local files that the
    points name must exist too.
    """
    try:
        sweep = load(path)
    except ConfigError as error:
        return 0, list(error.problems)
    config, problems = read_all(sweep)
    problems += _study_problems(sweep, config)
    points = list(itertools.islice(_points(sweep, config), MAX_CHECKED_POINTS))
    unread = _unread_parameters(sweep, config)
    faults: dict[str, int] = {}
    for point in points:
        found, _ = RunConfig.violations(point, files=files)
        for text in found:
            if not text.startswith(unread):  # its own fault is named already
                faults[text] = faults.get(text, 0) + 1
    total = len(points)
    for text, count in faults.items():
        problems.append(text if total == 1 else f"{text} ({count} of {total} grid points)")
    return (grid_size(config.space) if config.method == "grid" else 0), problems


def _unread_parameters(sweep: Mapping[str, Any], config: SweepConfig) -> tuple[str, ...]:
    """How a fault begins that calls a parameter missing which is there and could not be read."""
    given = sweep.get("parameters")
    known = {path.partition(".")[0] if path in config.nested else path for path in config.space}
    names = given.keys() - known if isinstance(given, Mapping) else ()
    return tuple(f"{name} is missing:" for name in names)


def notes(path: Path) -> tuple[str, ...]:
    """What W&B's cloud may refuse of a sweep that is valid here; a search without an end."""
    config = read_all(load(path))[0]
    has_end = config.method == "grid" or config.run_cap is not None
    end = () if has_end else ("without run_cap it runs until it is stopped, such as run_cap: 24",)
    return (*config.notes, *end)


def configs(sweep: Mapping[str, Any], *, where: str = "the sweep") -> list[RunConfig]:
    """A RunConfig for every grid point. ConfigError that names every violation."""
    size = grid_size(read_all(sweep)[0].space) if sweep.get("method") == "grid" else 0
    if size > MAX_LISTED_POINTS:
        fault = f"its grid has {size} points; at most {MAX_LISTED_POINTS} can be listed"
        raise ConfigError([fault], where=where)
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


def _study_problems(sweep: Mapping[str, Any], config: SweepConfig) -> Iterable[str]:
    """What a server takes and this study cannot use."""
    if "program" not in sweep and "command" not in sweep:
        yield "program is missing: the script an agent runs, here train.py"
    for objective in config.objectives:
        if "f1" in objective.name and objective.goal != "maximize":
            yield (
                f"metric {objective.name} is to be maximised; W&B minimises unless goal: maximize "
                "is given"
            )
