"""Which point a sweep tries next: grid, random and bayes as pure functions of (space, past runs).

Grid enumerates with the standard library. Random and bayes ask Optuna's samplers, none of which
needs torch. Distributions that Optuna lacks (normal, beta, inverse log, ...) are drawn on the unit
interval and mapped by their quantile function, so that TPE models them too.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

optuna.logging.set_verbosity(optuna.logging.WARNING)

FASTEST_NAMES = ("learning_rate", "lr")
_EDGE = 1e-9  # quantile functions of unbounded distributions are infinite at 0 and 1


Goal = Literal["minimize", "maximize"]
RunState = Literal["running", "finished", "failed"]


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


@dataclass(frozen=True)
class PastRun:
    """A run of the sweep: its point (dotted paths) and its metric, None while it is unknown."""

    point: Mapping[str, Any]
    value: float | None
    state: RunState


def grid_order(space: Space) -> list[str]:
    """The paths from slowest to fastest: by name, the learning rate last.

    The client sorts the keys of a sweep's YAML, so the order in the file is not known here.
    Runs that share a training differ in anything but the learning rate, hence it varies fastest.
    """
    return sorted(space, key=lambda path: (path.rsplit(".", 1)[-1] in FASTEST_NAMES, path))


def grid_size(space: Space) -> int:
    """How many points the grid has."""
    return math.prod(len(_grid_values(parameter)) for parameter in space.values())


def grid_point(space: Space, index: int) -> dict[str, Any]:
    """The point at a place of the deterministic order; index counts from 0."""
    if not 0 <= index < grid_size(space):
        raise IndexError(f"grid point {index} of {grid_size(space)}")
    point: dict[str, Any] = {}
    for path in reversed(grid_order(space)):
        values = _grid_values(space[path])
        index, place = divmod(index, len(values))
        point[path] = values[place]
    return {path: point[path] for path in grid_order(space)}


def grid_points(space: Space) -> Iterator[dict[str, Any]]:
    """All points in order."""
    return (grid_point(space, index) for index in range(grid_size(space)))


def is_grid_parameter(parameter: Parameter) -> bool:
    """Whether a grid can enumerate it: choices and whole-number or quantised ranges."""
    return isinstance(parameter, Choice) or parameter.distribution in ("int_uniform", "q_uniform")


def _grid_values(parameter: Parameter) -> tuple[Any, ...]:
    if isinstance(parameter, Choice):
        return parameter.values
    step = parameter.quantum or 1
    count = int((parameter.high - parameter.low) / step + 1e-9) + 1
    values = [parameter.low + step * i for i in range(count)]
    if parameter.distribution == "int_uniform":
        return tuple(int(value) for value in values)
    return tuple(round(value, 12) for value in values)


def random_point(space: Space, seed: int) -> dict[str, Any]:
    """A random point; the same seed gives the same point."""
    return _ask(space, RandomSampler(seed=seed), [], "minimize")


def bayes_point(space: Space, runs: Sequence[PastRun], goal: Goal, seed: int) -> dict[str, Any]:
    """A point proposed by a tree-structured Parzen estimator that knows the runs so far.

    Points still running count as bad (the constant liar), so that parallel agents spread out.
    The first ten finished runs are random.
    """
    sampler = TPESampler(seed=seed, constant_liar=True, multivariate=True, group=False)
    return _ask(space, sampler, runs, goal)


def _ask(space: Space, sampler: BaseSampler, runs: Sequence[PastRun], goal: Goal) -> dict[str, Any]:
    study = optuna.create_study(sampler=sampler, direction=goal)
    distributions = {path: _distribution(space[path]) for path in sorted(space)}
    for run in runs:
        known = _as_trial(space, distributions, run)
        if known is not None:
            study.add_trial(known)
    trial = study.ask(distributions)
    return {path: _value(space[path], trial.params[path]) for path in sorted(space)}


def _as_trial(
    space: Space, distributions: dict[str, BaseDistribution], run: PastRun
) -> optuna.trial.FrozenTrial | None:
    """The run as Optuna knows it; None if its point does not lie in the space."""
    parameters: dict[str, Any] = {}
    for path, parameter in space.items():
        coordinate = _coordinate(parameter, run.point.get(path))
        if coordinate is None:
            return None
        parameters[path] = coordinate
    if run.state == "running":
        return create_trial(
            state=TrialState.RUNNING, params=parameters, distributions=distributions
        )
    if run.state == "finished" and run.value is not None and math.isfinite(run.value):
        return create_trial(value=run.value, params=parameters, distributions=distributions)
    return create_trial(state=TrialState.FAIL, params=parameters, distributions=distributions)


def _distribution(parameter: Parameter) -> BaseDistribution:
    """Where Optuna draws the parameter's coordinate.

    Choices are drawn by place (their values may be lists or objects); weighted choices and all
    numbers on a unit interval, except plain and log ranges, which Optuna knows.
    """
    if isinstance(parameter, Choice):
        if parameter.probabilities is not None:
            return FloatDistribution(0.0, 1.0)
        return CategoricalDistribution(tuple(range(len(parameter.values))))
    low, high = parameter.low, parameter.high
    match parameter.distribution:
        case "uniform":
            return FloatDistribution(low, high)
        case "log_uniform":
            return FloatDistribution(math.exp(low), math.exp(high), log=True)
        case "log_uniform_values":
            return FloatDistribution(low, high, log=True)
        case _:
            return FloatDistribution(0.0, 1.0)


def _value(parameter: Parameter, drawn: Any) -> Any:
    """The parameter's value at a drawn coordinate."""
    if isinstance(parameter, Choice):
        if parameter.probabilities is None:
            return parameter.values[int(drawn)]
        return parameter.values[_weighted_place(parameter.probabilities, drawn)]
    if isinstance(_distribution(parameter), FloatDistribution) and parameter.distribution in (
        "uniform",
        "log_uniform",
        "log_uniform_values",
    ):
        return float(drawn)
    return _quantile(parameter, float(drawn))


def _weighted_place(probabilities: Sequence[float], drawn: float) -> int:
    total = 0.0
    for place, probability in enumerate(probabilities):
        total += probability
        if drawn < total:
            return place
    return len(probabilities) - 1


def _quantile(parameter: Range, u: float) -> float | int:
    """The value below which a share u of the distribution lies, rounded to the quantum."""
    low, high, name = parameter.low, parameter.high, parameter.distribution
    inner = min(max(u, _EDGE), 1 - _EDGE)
    match name:
        case "int_uniform":
            return min(int(low + math.floor(u * (high - low + 1))), int(high))
        case "q_uniform":
            value = low + u * (high - low)
        case "q_log_uniform":
            value = math.exp(low + u * (high - low))
        case "q_log_uniform_values":
            value = low * (high / low) ** u
        case "inv_log_uniform":
            value = math.exp(-(low + u * (high - low)))
        case "inv_log_uniform_values":
            value = 1 / ((1 / high) * (high / low) ** u)
        case "normal" | "q_normal":
            value = NormalDist(low, high).inv_cdf(inner)
        case "log_normal" | "q_log_normal":
            value = math.exp(NormalDist(low, high).inv_cdf(inner))
        case "beta" | "q_beta":
            value = _beta_quantile(low, high, inner)
        case _:
            raise ValueError(f"unknown distribution {name!r}")
    return _rounded(value, parameter)


def _rounded(value: float, parameter: Range) -> float | int:
    if parameter.quantum is None:
        return value
    value = round(value / parameter.quantum) * parameter.quantum
    if parameter.distribution in ("q_uniform", "q_log_uniform_values"):
        value = min(max(value, parameter.low), parameter.high)
    is_whole = float(parameter.quantum).is_integer() and float(value).is_integer()
    return int(value) if is_whole else round(value, 12)


def _beta_quantile(a: float, b: float, u: float) -> float:
    from scipy.special import betaincinv

    return float(betaincinv(a, b, u))


def _coordinate(parameter: Parameter, value: Any) -> Any:
    """Where a past run's value lies on the parameter's axis; None if it does not."""
    if isinstance(parameter, Choice):
        places = [i for i, item in enumerate(parameter.values) if item == value]
        if not places:
            return None
        if parameter.probabilities is None:
            return places[0]
        before = sum(parameter.probabilities[: places[0]])
        return min(before + parameter.probabilities[places[0]] / 2, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    distribution = _distribution(parameter)
    assert isinstance(distribution, FloatDistribution)
    if (distribution.low, distribution.high) != (0.0, 1.0) or parameter.distribution == "uniform":
        return float(value) if distribution.low <= value <= distribution.high else None
    return _bisect(parameter, float(value))


def _bisect(parameter: Range, value: float) -> float:
    """The share of the distribution below a value: its quantile function is monotonic."""
    low, high = 0.0, 1.0
    rising = _quantile(parameter, 1.0) >= _quantile(parameter, 0.0)
    for _ in range(50):
        middle = (low + high) / 2
        if (_quantile(parameter, middle) < value) == rising:
            low = middle
        else:
            high = middle
    return (low + high) / 2
