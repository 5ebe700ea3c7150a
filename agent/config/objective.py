"""`metric` and `metrics` of a sweep: what it optimises, and the value of a run without one.

Also the one reader of a metric in a summary: it knows the goal and what `define_metric` keeps.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agent.config.rules import unknown_name
from agent.config.values import read_number

Goal = Literal["minimize", "maximize"]
Impute = Literal["worst", "best", "latest"]
GOALS: tuple[Goal, ...] = ("minimize", "maximize")
IMPUTATIONS: tuple[Impute, ...] = ("worst", "best", "latest")
# What `define_metric(summary="min,max")` keeps of a metric, the best first.
KEPT: dict[Goal, tuple[str, ...]] = {
    "minimize": ("min", "best", "last", "mean", "first", "max"),
    "maximize": ("max", "best", "last", "mean", "first", "min"),
}
_KEYS = ("name", "goal", "target", "impute", "impute_while_running")


@dataclass(frozen=True)
class Objective:
    """One metric of a sweep."""

    name: str
    goal: Goal = "minimize"
    target: float | None = None  # the sweep ends once a run has reached it
    impute: Impute = "worst"  # the value that bayes takes for runs that failed or were stopped
    impute_while_running: Impute | None = None  # and for running ones; None: pending, no value

    def is_reached(self, value: float | None) -> bool:
        """Whether a value is as good as the target."""
        if self.target is None or value is None:
            return False
        return value >= self.target if self.goal == "maximize" else value <= self.target


def read_objective(given: Any, where: str, problems: list[str]) -> Objective | None:
    """One metric; None, with its faults in `problems`, where it cannot be read."""
    if not isinstance(given, dict):
        shown = given if isinstance(given, str) else "validation/f1_score"
        problems.append(f"{where} needs a name, here {{name: {shown}, goal: maximize}}")
        return None
    before = len(problems)
    name = given.get("name")
    if not isinstance(name, str) or not name.strip():
        problems.append(f"{where} needs a name, here validation/f1_score")
    for key in given:
        if key not in _KEYS:
            problems.append(f"{where}: {unknown_name(str(key), _KEYS, 'key')}")
    goal = given.get("goal", "minimize")
    if goal not in GOALS:
        problems.append(f"{where}.goal = {goal!r}: must be maximize or minimize")
    target = read_number(given.get("target"))
    if "target" in given and target is None:
        problems.append(f"{where}.target = {given['target']!r}: must be a number")
    impute = given.get("impute", "worst")
    if impute not in IMPUTATIONS:
        problems.append(f"{where}.impute = {impute!r}: must be one of {', '.join(IMPUTATIONS)}")
    running = given.get("impute_while_running", "false")
    running = None if running is False or running == "false" else running
    if running is not None and running not in IMPUTATIONS:
        known = ", ".join([*IMPUTATIONS, "false"])
        problems.append(f"{where}.impute_while_running = {running!r}: must be one of {known}")
    if len(problems) > before:
        return None
    return Objective(str(name), goal, None if target is None else float(target), impute, running)


def number_of(value: Any) -> float | None:
    """The finite number that a logged value is; None for text, booleans, NaN and infinities."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def summary_number(value: Any, goal: Goal) -> float | None:
    """The number that a summary says of a metric, of several the best."""
    if not isinstance(value, dict):
        return number_of(value)
    found = (number_of(value.get(key)) for key in KEPT[goal])
    return next((number for number in found if number is not None), None)


def flat_number(values: Mapping[str, Any], objective: Objective) -> float | None:
    """As `summary_number`, from a summary whose objects were flattened (`loss.max`)."""
    names = (objective.name, *(f"{objective.name}.{kept}" for kept in KEPT[objective.goal]))
    found = (number_of(values.get(name)) for name in names)
    return next((number for number in found if number is not None), None)
