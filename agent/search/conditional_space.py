"""A conditional search space for Optuna: only valid cells of variant x quantisation are proposed.

W&B's own random and bayes draw both keys independently, and four of nine pairs are not a variant.
Its Optuna engine (`scheduler: {engine: optuna, source, search_space, optimizer}`) calls a function
per proposal; here that function is made from the `parameters` of the sweep's YAML, so that the
YAML stays the one place that is edited.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna

from agent.config import sweep_yaml, variants
from agent.config.search_space import Choice, Parameter, Space, nested_point
from agent.config.sweep_parameters import read_parameters
from agent.errors import ConfigError

VARIANT, STRATEGY = "model_variant", "quantization_strategy"


def conditional_space(path: Path) -> Callable[[optuna.Trial], dict[str, Any]]:
    """The `search_space` of a sweep YAML: from a trial to a whole grid point.

    ConfigError when a parameter cannot be proposed by Optuna, or no listed pair is a variant.
    """
    reading = read_parameters(sweep_yaml.load(path).get("parameters"))
    if reading.problems:
        raise ConfigError(reading.problems, where=str(path))
    space = reading.space
    cells = valid_cells(space, where=str(path))

    def search_space(trial: optuna.Trial) -> dict[str, Any]:
        point = suggest_cell(trial, cells)
        for name, parameter in space.items():
            if name not in (VARIANT, STRATEGY):
                point[name] = suggest_value(trial, name, parameter)
        return nested_point(point, reading.nested)

    return search_space


def valid_cells(space: Space, *, where: str) -> dict[str, list[str]]:
    """The strategies of each variant, of those that the space lists; all where none are."""
    listed = _listed(space, VARIANT, variants.model_variants())
    strategies = _listed(space, STRATEGY, variants.quantization_strategies())
    cells = {
        variant: [name for name in variants.strategies_of(variant) if name in strategies]
        for variant in listed
    }
    found = {variant: sorted(names) for variant, names in cells.items() if names}
    if not found:
        fault = f"none of {listed} goes with any of {strategies}; see the table of variants"
        raise ConfigError([fault], where=where)
    return found


def suggest_cell(trial: optuna.Trial, cells: Mapping[str, list[str]]) -> dict[str, Any]:
    """Variant first; then, only where it has a choice, its quantisation."""
    variant = trial.suggest_categorical(VARIANT, list(cells))
    strategies = cells[variant]
    if len(strategies) == 1:
        return {VARIANT: variant, STRATEGY: strategies[0]}
    return {VARIANT: variant, STRATEGY: trial.suggest_categorical(STRATEGY, strategies)}


def suggest_value(trial: optuna.Trial, name: str, parameter: Parameter) -> Any:
    """One parameter of a sweep. ConfigError for a distribution that Optuna lacks."""
    if isinstance(parameter, Choice):
        if len(parameter.values) == 1:
            return parameter.values[0]
        return trial.suggest_categorical(name, list(parameter.values))
    low, high = parameter.low, parameter.high
    match parameter.distribution:
        case "int_uniform":
            return trial.suggest_int(name, int(low), int(high))
        case "uniform":
            return trial.suggest_float(name, low, high)
        case "log_uniform_values":
            return trial.suggest_float(name, low, high, log=True)
        case "log_uniform":
            return trial.suggest_float(name, math.exp(low), math.exp(high), log=True)
        case "q_uniform":
            return trial.suggest_float(name, low, high, step=parameter.quantum)
    known = "int_uniform, uniform, log_uniform_values, log_uniform, q_uniform"
    fault = f"{name}: Optuna has no distribution {parameter.distribution!r}; known: {known}"
    raise ConfigError([fault], where="parameters")


def study_of_sweep(sweep: Any) -> optuna.Study:
    """The `optimizer` of a sweep: a study with one direction per metric of its YAML.

    `sweep` is what W&B hands over; its `config` is the parsed YAML. The sampler is TPE, which
    handles several objectives, conditional spaces and runs in flight, and needs no torch.
    """
    metrics = sweep.config.get("metrics") or [sweep.config.get("metric") or {}]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, seed=0
        )
    return optuna.create_study(
        directions=["maximize" if m.get("goal") == "maximize" else "minimize" for m in metrics],
        sampler=sampler,
        pruner=optuna.pruners.NopPruner(),  # runs are pruned inside, by train.py
    )


def _listed(space: Space, name: str, everything: tuple[str, ...]) -> list[str]:
    parameter = space.get(name)
    if parameter is None:
        return list(everything)
    if not isinstance(parameter, Choice):
        raise ConfigError([f"{name}: needs value or values"], where="parameters")
    return ["None" if value is None else str(value) for value in parameter.values]
