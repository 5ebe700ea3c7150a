"""Sweep YAMLs: the one reader that check, plan, the server, search and the demo ask.

It knows what W&B documents (the keys and kinds of its published schema) and what W&B only finds
out while a sweep runs, so that a sweep is refused before its first run. Faults are found all at
once. What is valid for a server but not for this study (no `program`, an unknown config key) is
said by `check` alone.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.config import variants, yaml_text
from agent.config.early_termination import Hyperband, read_hyperband
from agent.config.objective import Goal, Objective, read_objective
from agent.config.rules import unknown_name
from agent.config.run_config import RunConfig
from agent.config.search_space import (
    Choice,
    Parameter,
    Space,
    ends,
    flat_point,
    for_grid,
    grid_order,
    grid_size,
    is_grid_parameter,
    nested_point,
)
from agent.config.search_space import (
    grid_points as points_of_grid,
)
from agent.config.sweep_parameters import Reading, read_parameters
from agent.config.values import read_whole
from agent.errors import ConfigError

METHODS = ("grid", "random", "bayes", "custom")
METHODS_OF_ENGINE = {"wandb": METHODS[:3], "optuna": ("custom",), "ax": ("custom",)}
MAX_CHECKED_POINTS = 10_000  # a larger grid is checked on its first points and said so
MAX_LISTED_POINTS = 100_000
_TEXTS = (
    "apiVersion", "kind", "description", "program", "job", "image_uri", "entity", "project", "name",
)  # fmt: skip
# `settings` is written by the client's `wandb sweep --settings`.
KEYS = (
    *_TEXTS, "method", "command", "controller", "run_cap", "metric", "metrics", "scheduler",
    "early_terminate", "parameters", "settings",
)  # fmt: skip


@dataclass(frozen=True)
class SweepConfig:
    """A valid sweep."""

    method: str
    space: dict[str, Parameter] = field(default_factory=dict)
    nested: frozenset[str] = frozenset()  # dotted paths that came from nested parameters
    objectives: tuple[Objective, ...] = ()  # `metric`, or all of `metrics`
    run_cap: int | None = None
    hyperband: Hyperband | None = None
    program: str | None = None
    name: str | None = None
    description: str | None = None
    has_scheduler: bool = False  # points come from the client's own `wandb sweep-scheduler`
    notes: tuple[str, ...] = ()  # valid, but W&B's cloud minds

    @property
    def objective(self) -> Objective | None:
        """The metric of a sweep with one; None without any, and for several."""
        return self.objectives[0] if len(self.objectives) == 1 else None

    @property
    def metric(self) -> str | None:
        return self.objective.name if self.objective else None

    @property
    def goal(self) -> Goal:
        return self.objective.goal if self.objective else "minimize"

    def nested_point(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        """A point of dotted paths as a run gets it, nested parameters as objects."""
        return nested_point(flat, self.nested)

    def flat_point(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters' values of a run's config, under their dotted paths."""
        return flat_point(tree, self.space, self.nested)


def parse(text: str, *, where: str = "the sweep") -> SweepConfig:
    """Read a sweep's text. Raises ConfigError with every violation."""
    return read(yaml_text.read_mapping(text, where=where), where=where)


def read(sweep: Mapping[str, Any], *, where: str = "the sweep") -> SweepConfig:
    """Read a sweep's mapping. Raises ConfigError with every violation."""
    config, problems = _read(sweep)
    if problems:
        raise ConfigError(problems, where=where)
    return config


def parse_accepted(text: str) -> SweepConfig:
    """A sweep that was accepted before, perhaps under fewer rules than today's: what of it can be
    read. ConfigError only for what is no mapping."""
    return _read(yaml_text.read_mapping(text, where="the sweep", is_strict=False))[0]


def load(path: Path) -> dict[str, Any]:
    """The mapping of one YAML file. ConfigError when it cannot be read as one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([f"cannot be read: {reason}"], where=str(path)) from None
    return yaml_text.read_mapping(text, where=str(path))


# ------------------------------------------------------------------ reading
def _read(sweep: Mapping[str, Any]) -> tuple[SweepConfig, list[str]]:
    """What could be read, and all faults."""
    problems = [unknown_name(str(key), KEYS, "key") for key in sweep if key not in KEYS]
    for key in _TEXTS:
        if key in sweep and not isinstance(sweep[key], str):
            problems.append(f"{key} = {str(sweep[key])[:40]!r}: must be text; quote it")
    method, scheduler = sweep.get("method"), sweep.get("scheduler")
    if method not in METHODS:
        problems.append(f"method = {method!r} is not one of {', '.join(METHODS)}")
    reading = Reading()
    if "parameters" in sweep:
        reading = read_parameters(sweep["parameters"])
        problems += reading.problems
    elif not (isinstance(scheduler, dict) and scheduler.get("search_space")):
        problems.append(
            "parameters is missing: a mapping of config keys to value, values or a distribution"
        )
    if method == "grid":
        problems += _grid_faults(reading.space)
    objectives = _read_objectives(sweep, problems)
    hyperband = None
    if "early_terminate" in sweep:
        hyperband = read_hyperband(sweep["early_terminate"], problems)
        if not objectives and "metric" not in sweep:
            problems.append("early_terminate: hyperband needs a metric with a name")
    run_cap = read_whole(sweep.get("run_cap"))
    if "run_cap" in sweep and (run_cap is None or run_cap < 1):
        problems.append(f"run_cap = {sweep['run_cap']!r}: must be a whole number of at least 1")
    problems += _faults_of_launching(sweep)
    problems += _scheduler_faults(sweep)
    space = reading.space
    if method == "grid":
        space = {path: for_grid(parameter) for path, parameter in space.items()}
    config = SweepConfig(
        method=str(method),
        space=space,
        nested=frozenset(reading.nested),
        objectives=tuple(objectives),
        run_cap=run_cap,
        hyperband=hyperband,
        program=_text(sweep.get("program")),
        name=_text(sweep.get("name")),
        description=_text(sweep.get("description")),
        has_scheduler=bool(scheduler),
        notes=tuple(reading.notes),
    )
    return config, problems


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _grid_faults(space: Space) -> Iterable[str]:
    for path, parameter in space.items():
        if not is_grid_parameter(parameter):
            yield (
                f"parameters.{path}: a grid needs value, values, int_uniform or q_uniform, not a "
                "distribution without steps"
            )
        elif getattr(parameter, "probabilities", None) is not None:
            yield f"parameters.{path}.probabilities: a grid runs every value; leave them out"


def _read_objectives(sweep: Mapping[str, Any], problems: list[str]) -> list[Objective]:
    method = sweep.get("method")
    if "metrics" not in sweep:
        if "metric" in sweep:
            found = read_objective(sweep["metric"], "metric", problems)
            return [] if found is None else [found]
        if method == "bayes":
            problems.append("metric is missing: bayes needs a metric with a name and a goal")
        return []
    given = sweep["metrics"]
    if "metric" in sweep:
        problems.append("metric and metrics: give one of them; metrics is for several objectives")
    elif method != "custom":
        problems.append(f"metrics needs method: custom, got {method!r}")
    if not isinstance(given, list) or len(given) < 2:
        problems.append("metrics: needs a list of at least two metrics; for one there is metric")
        return []
    read_ones = [
        read_objective(one, f"metrics[{place}]", problems) for place, one in enumerate(given)
    ]
    return [objective for objective in read_ones if objective is not None]


def _faults_of_launching(sweep: Mapping[str, Any]) -> Iterable[str]:
    if "command" in sweep and not isinstance(sweep["command"], list):
        yield (
            f"command = {str(sweep['command'])[:40]!r}: must be a list of words, here "
            '["${env}", "${interpreter}", "${program}", "${args}"]'
        )
    if sweep.get("kind", "sweep") != "sweep":
        yield f"kind = {sweep['kind']!r}: must be sweep"
    if "controller" in sweep:
        given = sweep["controller"]
        kind = given.get("type") if isinstance(given, dict) else given
        if kind == "local":
            yield "controller.type = 'local': local controllers are not supported; leave it out"
        elif kind != "cloud":
            yield f"controller.type = {kind!r}: must be cloud"
    if not isinstance(sweep.get("settings", {}), dict):
        yield "settings: needs a mapping"


def _scheduler_faults(sweep: Mapping[str, Any]) -> Iterable[str]:
    if "scheduler" not in sweep:
        return
    given, method = sweep["scheduler"], sweep.get("method")
    if not isinstance(given, dict):
        yield "scheduler: needs a mapping with engine"
        return
    known = ("engine", "source", "optimizer", "search_space")
    for key in given:
        if key not in known:
            yield f"scheduler: {unknown_name(str(key), known, 'key')}"
        elif not isinstance(given[key], str):
            yield f"scheduler.{key} = {given[key]!r}: must be text"
    engine = given.get("engine")
    if not isinstance(engine, str) or engine not in METHODS_OF_ENGINE:
        yield f"scheduler.engine = {engine!r}: must be one of {', '.join(METHODS_OF_ENGINE)}"
    elif method in METHODS and method not in METHODS_OF_ENGINE[engine]:
        wanted = ", ".join(METHODS_OF_ENGINE[engine])
        yield f"scheduler.engine = {engine!r}: needs method {wanted}, got {method}"
    if "source" not in given and given.keys() & {"optimizer", "search_space"}:
        yield "scheduler.source is missing: the file that optimizer and search_space stand in"
    if "early_terminate" in sweep:
        yield "early_terminate: not together with scheduler, which stops runs by itself"


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
    quantisation that are no cell are left out, as that function leaves them out.
    ConfigError when a parameter cannot be read.
    """
    config, _ = _read(sweep)
    faults = read_parameters(sweep.get("parameters")).problems
    if config.method == "grid":
        faults += _grid_faults(config.space)
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
    config, problems = _read(sweep)
    problems += _study_problems(sweep, config)
    points = list(itertools.islice(_points(sweep, config), MAX_CHECKED_POINTS))
    faults: dict[str, int] = {}
    for point in points:
        found, _ = RunConfig.violations(point, files=files)
        for text in found:
            faults[text] = faults.get(text, 0) + 1
    total = len(points)
    for text, count in faults.items():
        problems.append(text if total == 1 else f"{text} ({count} of {total} grid points)")
    return (grid_size(config.space) if config.method == "grid" else 0), problems


def notes(path: Path) -> tuple[str, ...]:
    """What W&B's cloud minds about a sweep that is valid here."""
    return _read(load(path))[0].notes


def configs(sweep: Mapping[str, Any], *, where: str = "the sweep") -> list[RunConfig]:
    """A RunConfig for every grid point. ConfigError that names every violation."""
    size = grid_size(_read(sweep)[0].space) if sweep.get("method") == "grid" else 0
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
