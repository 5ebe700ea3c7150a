"""A sweep's config: read from its YAML text, every fault at once.

The reader knows what W&B documents (the keys and kinds of its published schema) and what W&B only
finds out while a sweep runs, so that a sweep is refused before its first run.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.config import yaml_text
from agent.config.early_termination import Hyperband, read_hyperband
from agent.config.objective import Goal, Objective, read_objective
from agent.config.rules import unknown_name
from agent.config.search_space import (
    Parameter,
    Space,
    flat_point,
    for_grid,
    is_grid_parameter,
    nested_point,
)
from agent.config.sweep_parameters import Reading, read_parameters
from agent.config.values import read_whole
from agent.errors import ConfigError

METHODS = ("grid", "random", "bayes", "custom")
METHODS_OF_ENGINE = {"wandb": METHODS[:3], "optuna": ("custom",), "ax": ("custom",)}
_TEXTS = (
    "apiVersion",
    "kind",
    "description",
    "program",
    "job",
    "image_uri",
    "entity",
    "project",
    "name",
)
# What wandb's agent puts in the place of a word `${…}` of a command (`${envvar:NAME}` is one more).
# It silently leaves out any other.
MACROS = (
    "env",
    "interpreter",
    "program",
    "args",
    "args_no_hyphens",
    "args_no_boolean_flags",
    "args_no_equals",
    "args_append_hydra",
    "args_override_hydra",
    "args_json",
    "args_json_file",
)
_MACRO = re.compile(r"\$\{([a-z_]+)\}")
# `settings` is written by the client's `wandb sweep --settings`.
KEYS = (
    *_TEXTS,
    "method",
    "command",
    "controller",
    "run_cap",
    "metric",
    "metrics",
    "scheduler",
    "early_terminate",
    "parameters",
    "settings",
)


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
    notes: tuple[str, ...] = ()  # valid here, but not to W&B's cloud

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
    config, problems = read_all(sweep)
    if problems:
        raise ConfigError(problems, where=where)
    return config


def parse_accepted(text: str) -> SweepConfig:
    """A sweep that was accepted before, perhaps under fewer rules than today's: what of it can be
    read. ConfigError only for what is not a mapping."""
    return read_all(yaml_text.read_mapping(text, where="the sweep", is_strict=False))[0]


def read_all(sweep: Mapping[str, Any]) -> tuple[SweepConfig, list[str]]:
    """What could be read, and all faults."""
    problems = [unknown_name(str(key), KEYS, "key") for key in sweep if key not in KEYS]
    for key in _TEXTS:
        if key in sweep and not isinstance(sweep[key], str):
            remedy = "leave it out" if sweep[key] is None else "quote it"
            problems.append(f"{key} = {str(sweep[key])[:40]!r}: must be text; {remedy}")
    method, scheduler = sweep.get("method"), sweep.get("scheduler")
    if method not in METHODS:
        near = difflib.get_close_matches(str(method).lower(), METHODS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        problems.append(f"method = {method!r} is not one of {', '.join(METHODS)}{hint}")
    reading = _read_space(sweep)
    problems += reading.problems
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
    config = SweepConfig(
        method=str(method),
        space=reading.space,
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


def _read_space(sweep: Mapping[str, Any]) -> Reading:
    """The parameters; in a grid each value once."""
    scheduler = sweep.get("scheduler")
    if "parameters" not in sweep:
        has_own_space = isinstance(scheduler, dict) and bool(scheduler.get("search_space"))
        missing = (
            "parameters is missing: a mapping of config keys to value, values or a distribution"
        )
        return Reading(problems=[] if has_own_space else [missing])
    reading = read_parameters(sweep["parameters"])
    if sweep.get("method") == "grid":
        reading.problems += grid_faults(reading.space)
        reading.space = {path: for_grid(parameter) for path, parameter in reading.space.items()}
    return reading


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def grid_faults(space: Space) -> Iterable[str]:
    """Why a grid cannot run through a parameter."""
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
    if "command" in sweep:
        yield from _faults_of_command(sweep["command"])
    if sweep.get("kind", "sweep") != "sweep":
        yield f"kind = {sweep['kind']!r}: must be sweep"
    if "controller" in sweep:
        given = sweep["controller"]
        kind = given.get("type") if isinstance(given, dict) else given
        for key in given if isinstance(given, dict) else ():
            if key != "type" and kind is None:  # a misspelt type; W&B takes other keys beside it
                yield f"controller: {unknown_name(str(key), ('type',), 'key')}"
        if kind == "local":
            yield "controller.type = 'local': local controllers are not supported; leave it out"
        elif kind != "cloud":
            yield f"controller.type = {kind!r}: must be cloud"
    if not isinstance(sweep.get("settings", {}), dict):
        yield "settings: needs a mapping"


def _faults_of_command(command: Any) -> Iterable[str]:
    if not isinstance(command, list):
        yield (
            f"command = {str(command)[:40]!r}: must be a list of words, here "
            '["${env}", "${interpreter}", "${program}", "${args}"]'
        )
        return
    for place, word in enumerate(command):
        if not isinstance(word, str | int | float):
            yield f"command[{place}] = {str(word)[:40]!r}: must be a word; quote it"
        elif (macro := _MACRO.fullmatch(str(word))) and macro[1] not in MACROS:
            yield f"command[{place}] = {word!r}: {unknown_name(macro[1], MACROS, 'macro')}"


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
