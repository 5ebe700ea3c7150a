"""Where Optuna draws a parameter of a sweep, and which value lies there.

Distributions that Optuna lacks (normal, beta, inverse log, ...) are drawn on the unit interval and
mapped by their quantile function, so that TPE models them too.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from agent.config.search_space import Choice, Parameter, Range, quantised
from agent.config.values import distinct, read_number, value_key

_EDGE = 1e-9  # quantile functions of unbounded distributions are infinite at 0 and 1
_WITH_ENDS = ("q_uniform", "q_log_uniform", "q_log_uniform_values", "q_beta")
MOST_LISTED = 100_000
MOST_CATEGORIES = 200  # a longer list (files, seeds) is drawn by place: TPE is linear in categories


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """Where Optuna draws the parameter's coordinate.

    Choices are drawn by place (their values may be lists or objects); weighted choices and all
    numbers on a unit interval, except plain and log ranges, which Optuna knows.
    """
    if isinstance(parameter, Choice):
        if parameter.probabilities is not None:
            return FloatDistribution(0.0, 1.0)
        count = len(parameter.values)
        if count > MOST_CATEGORIES:
            return IntDistribution(0, count - 1)
        return CategoricalDistribution(tuple(range(count)))
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


def value_of(parameter: Parameter, drawn: Any) -> Any:
    """The parameter's value at a drawn coordinate."""
    if isinstance(parameter, Choice):
        if parameter.probabilities is None:
            return parameter.values[int(drawn)]
        return parameter.values[_weighted_place(parameter.probabilities, drawn)]
    if isinstance(distribution_of(parameter), FloatDistribution) and parameter.distribution in (
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
            value = _normal_quantile(low, high, inner)
        case "log_normal" | "q_log_normal":
            value = math.exp(_normal_quantile(low, high, inner))
        case "beta" | "q_beta":
            value = _beta_quantile(low, high, inner)
        case _:
            raise ValueError(f"unknown distribution {name!r}")
    return quantised(value, parameter)


def _normal_quantile(mu: float, sigma: float, u: float) -> float:
    return NormalDist(mu, sigma).inv_cdf(u) if sigma > 0 else mu


def _beta_quantile(a: float, b: float, u: float) -> float:
    from scipy.special import betaincinv

    return float(betaincinv(a, b, u))


def places_of(parameter: Parameter) -> dict[str, int]:
    """The place of each listed value by its `value_key`; made once, as lists may be long."""
    places: dict[str, int] = {}
    for place, value in enumerate(parameter.values if isinstance(parameter, Choice) else ()):
        places.setdefault(value_key(value), place)
    return places


def coordinate_of(parameter: Parameter, value: Any, places: Mapping[str, int]) -> Any:
    """Where a past run's value lies on the parameter's axis; None if it does not.

    `places` are the parameter's `places_of`.
    """
    if isinstance(parameter, Choice):
        place = places.get(value_key(value))
        if place is None:
            return None
        if parameter.probabilities is None:
            return place
        before = sum(parameter.probabilities[:place])
        return min(before + parameter.probabilities[place] / 2, 1.0)
    value = read_number(value)
    if value is None:
        return None
    distribution = distribution_of(parameter)
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


def listed_values(parameter: Parameter) -> tuple[Any, ...] | None:
    """All values of a parameter that has finitely many; None for any other, and for too many."""
    if isinstance(parameter, Choice):
        return distinct(parameter.values)
    if parameter.distribution == "int_uniform":
        low, high = int(parameter.low), int(parameter.high)
        return tuple(range(low, high + 1)) if high - low < MOST_LISTED else None
    if parameter.distribution not in _WITH_ENDS or parameter.quantum is None:
        return None
    first, last = sorted(float(_quantile(parameter, u)) for u in (0.0, 1.0))
    quantum = parameter.quantum
    lowest, highest = math.floor(first / quantum), math.ceil(last / quantum)
    if highest - lowest >= MOST_LISTED:
        return None
    return distinct(quantised(step * quantum, parameter) for step in range(lowest, highest + 1))
