"""Which point a sweep tries next: random and bayes as pure functions of (space, past runs).

Both ask Optuna's samplers, none of which needs torch. (A grid's points are `config.search_space`'s:
they need no search.)
"""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from agent.config.objective import Goal, Impute
from agent.config.search_space import Space
from agent.config.values import value_key
from agent.search.coordinates import (
    coordinate_of,
    distribution_of,
    listed_values,
    places_of,
    value_of,
)

optuna.logging.set_verbosity(optuna.logging.WARNING)

RunState = Literal["running", "finished", "failed"]
TRIES = 4  # proposals asked for before a new point is looked for by hand
MOST_COMPARED = 2_000  # new points of a finite space that are compared with a proposal


@dataclass(frozen=True)
class PastRun:
    """A run of the sweep: its point (dotted paths) and its metric, None while it is unknown."""

    point: Mapping[str, Any]
    value: float | None  # the best that the run has reached
    state: RunState
    latest: float | None = None  # the last that it has logged


def random_point(space: Space, seed: int) -> dict[str, Any]:
    """A random point; the same seed gives the same point."""
    return next(_proposals(space, RandomSampler(seed=seed), [], "minimize"))


def bayes_point(
    space: Space,
    runs: Sequence[PastRun],
    goal: Goal,
    seed: int,
    impute: Impute = "worst",
    impute_while_running: Impute | None = None,
) -> dict[str, Any]:
    """A point proposed by a tree-structured Parzen estimator that knows the runs so far.

    Points still running count as bad (the constant liar), so that parallel agents spread out,
    unless `impute_while_running` gives them a value. The first ten finished runs are random.
    Over a finite space no point of a run is proposed again while a new one is left.
    """
    known = imputed(runs, goal, impute, impute_while_running)
    tried = {_key_of(space, run.point) for run in runs}
    sampler = TPESampler(seed=seed, constant_liar=True, multivariate=True, group=False)
    proposals = _proposals(space, sampler, known, goal)
    first = next(proposals)
    for point in itertools.chain([first], itertools.islice(proposals, TRIES - 1)):
        if _key_of(space, point) not in tried:
            return point
    return _nearest_new(space, first, tried, seed) or first


def imputed(
    runs: Sequence[PastRun], goal: Goal, impute: Impute, while_running: Impute | None
) -> list[PastRun]:
    """The runs with the values that W&B's `impute` gives those without one.

    A run that failed or was stopped gets the worst value of all ended runs, its own best or its own
    latest; where there is none, the worst. Runs that finished without a value count as failed.
    """
    ended = [run.value for run in runs if run.state != "running" and _is_finite(run.value)]
    known = [value for value in ended if value is not None]
    worst = None if not known else (min(known) if goal == "maximize" else max(known))

    def filled(run: PastRun, how: Impute) -> PastRun:
        own = {"worst": worst, "best": run.value, "latest": run.latest}[how]
        value = own if _is_finite(own) else worst
        return PastRun(run.point, value, "finished" if value is not None else "failed", run.latest)

    found = []
    for run in runs:
        if run.state == "running":
            has_value = while_running is not None and _is_finite(run.value)
            if while_running is not None and (has_value or while_running == "worst"):
                guess = filled(run, while_running)
                found.append(guess if guess.value is not None else run)
            else:
                found.append(run)
        elif run.state == "finished" and _is_finite(run.value):
            found.append(run)
        else:
            found.append(filled(run, impute))
    return found


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _key_of(space: Space, point: Mapping[str, Any]) -> str:
    return value_key({path: point[path] for path in space if path in point})


def _nearest_new(
    space: Space, wanted: Mapping[str, Any], tried: set[str], seed: int
) -> dict[str, Any] | None:
    """The point that no run has and that differs from a proposal in the fewest parameters.

    None where the space is not finite, or every point has a run.
    """
    columns = {path: listed_values(space[path]) for path in sorted(space)}
    if any(values is None for values in columns.values()):
        return None
    size = math.prod(len(values or ()) for values in columns.values())
    keys = {path: value_key(value) for path, value in wanted.items()}
    new: list[tuple[int, dict[str, Any]]] = []
    for place in _places(size, seed):
        point = {}
        for path, values in columns.items():
            assert values is not None
            place, index = divmod(place, len(values))
            point[path] = values[index]
        if _key_of(space, point) not in tried:
            distance = sum(value_key(value) != keys[path] for path, value in point.items())
            new.append((distance, point))
            if len(new) == MOST_COMPARED:
                break
    return min(new, key=lambda pair: pair[0])[1] if new else None


def _places(size: int, seed: int) -> Iterator[int]:
    """All places of a space, from a random one on: a large space is not searched in order."""
    start = random.Random(seed).randrange(size)
    return itertools.chain(range(start, size), range(start))


def _proposals(
    space: Space, sampler: BaseSampler, runs: Sequence[PastRun], goal: Goal
) -> Iterator[dict[str, Any]]:
    """Points without end; each is pending when the next is asked for."""
    study = optuna.create_study(sampler=sampler, direction=goal)
    distributions = {path: distribution_of(space[path]) for path in sorted(space)}
    places = {path: places_of(parameter) for path, parameter in space.items()}
    for run in runs:
        known = _as_trial(space, distributions, places, run)
        if known is not None:
            study.add_trial(known)
    while True:
        trial = study.ask(distributions)
        yield {path: value_of(space[path], trial.params[path]) for path in sorted(space)}


def _as_trial(
    space: Space,
    distributions: dict[str, BaseDistribution],
    places: Mapping[str, Mapping[str, int]],
    run: PastRun,
) -> FrozenTrial | None:
    """The run as Optuna knows it; None if its point does not lie in the space."""
    parameters: dict[str, Any] = {}
    for path, parameter in space.items():
        if path not in run.point:
            return None
        coordinate = coordinate_of(parameter, run.point[path], places[path])
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
