"""How much each parameter of a sweep matters for its metric, by Optuna's PED-ANOVA.

PED-ANOVA (Watanabe et al., IJCAI 2023) compares how the best runs are spread over a parameter's
values with how all runs are; it needs no model, and unlike fANOVA no scikit-learn. As a program
(`python -m agent.search.importance`) it reads its request as JSON from standard input and prints
the answer: the server asks it in a process of its own, so that it never loads Optuna itself.
"""

import json
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from agent.config.objective import Goal

FEWEST_RUNS = 4
BEST_SHARE = 0.1  # of the runs, which are compared with all
FEWEST_BEST = 6
LOG_RATIO = 8.0  # a span this wide, all of it positive, is read as logarithmic


def importances(
    points: Sequence[Mapping[str, Any]], values: Sequence[float], goal: Goal
) -> dict[str, float]:
    """Shares of importance (together 1) of the parameters that differ between the points, the most
    important first; empty where there are too few runs or nothing differs.

    `values` are finite and in the order of `points`; `goal` is `minimize` or `maximize`.
    """
    keys = [key for key in _shared(points) if len({_word(point[key]) for point in points}) > 1]
    if len(points) < FEWEST_RUNS or not keys or len(set(values)) < 2:
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kinds = {key: _distribution(optuna, [point[key] for point in points]) for key in keys}
    study = optuna.create_study(direction=goal)
    for point, value in zip(points, values, strict=True):
        params = {
            key: float(point[key])
            if isinstance(kind, optuna.distributions.FloatDistribution)
            else _word(point[key])
            for key, kind in kinds.items()
        }
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=kinds, value=float(value))
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Of few runs a tenth would be one or two, whose every value looks decisive.
        share = min(0.5, max(BEST_SHARE, FEWEST_BEST / len(points)))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(share) if math.isfinite(share) else 0.0 for key, share in found.items()}


def _shared(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Parameters that every point has."""
    every = [set(point) for point in points]
    return sorted(set.intersection(*every)) if every else []


def _distribution(optuna: Any, values: Sequence[Any]) -> Any:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values) or not all(math.isfinite(number) for number in numbers):
        words = tuple(dict.fromkeys(map(_word, values)))
        return optuna.distributions.CategoricalDistribution(words)
    low, high = float(min(numbers)), float(max(numbers))
    is_log = low > 0 and high / low >= LOG_RATIO
    return optuna.distributions.FloatDistribution(low, high, log=is_log)


def _word(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def main() -> None:
    request = json.load(sys.stdin)
    found = importances(request["points"], request["values"], request["goal"])
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
