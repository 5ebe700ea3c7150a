"""The pruners a config can name: ours, and Optuna's own with their own arguments.

`pruner_warmup` and the number of rungs become the matching arguments of each class, unless
`pruner_options` says otherwise.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna import pruners
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from agent.config.rules import PAIRED, PRUNERS, unknown_name
from agent.config.run_config import RunConfig
from agent.errors import ConfigError
from agent.search.paired_pruner import PairedPruner, scores_of
from agent.search.paired_test import Rule

Maker = Callable[[Mapping[str, Any], RunConfig, int, int | None], BasePruner]


def build_pruner(config: RunConfig, *, rungs: int, peers: int | None) -> BasePruner:
    """The pruner of a run. ConfigError when an option is unknown or refused by the pruner."""
    return _build(config.pruner, config.pruner_options, config, rungs, peers)


def _build(
    name: str, options: Mapping[str, Any], config: RunConfig, rungs: int, peers: int | None
) -> BasePruner:
    if name not in PRUNERS:
        raise ConfigError([unknown_name(name, PRUNERS, "pruner")], where="pruner")
    known = options_of(name)
    unknown = [option for option in options if option not in known]
    if unknown:
        valid = ", ".join(known) or "none"
        faults = [
            f"{option!r} is not an option of the pruner {name}; valid: {valid}"
            for option in unknown
        ]
        raise ConfigError(faults, where="pruner_options")
    try:
        return _MAKERS[name](options, config, rungs, peers)
    except (TypeError, ValueError) as error:
        fault = (
            f"the pruner {name} refuses {dict(options)!r}: {error} (options: {', '.join(known)})"
        )
        raise ConfigError([fault], where="pruner_options") from None


def options_of(name: str) -> tuple[str, ...]:
    """The names that `pruner_options` may hold for a pruner."""
    if name in PAIRED:
        return ("level", "decay", "slowing", "doubt", "hope")
    if name == "none":
        return ()
    parameters = tuple(inspect.signature(_CLASSES[name]).parameters)
    return tuple("wrapped" if option == "wrapped_pruner" else option for option in parameters)


class ExampleWilcoxonPruner(BasePruner):
    """Optuna's WilcoxonPruner, asked about the examples of the last rung instead of about rungs.

    Optuna's class pairs "steps"; here a step is a validation example, as its documentation
    intends. It compares with the best complete trial only.
    """

    def __init__(self, pruner: pruners.WilcoxonPruner, warmup: int) -> None:
        self._pruner = pruner
        self._warmup = warmup

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        mine = scores_of(trial)
        rung = max(mine, default=0)
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if rung < max(1, self._warmup) or not complete:
            return False
        best = max(complete, key=lambda other: (other.value or 0.0, -other.number))
        theirs = scores_of(best).get(rung)
        if theirs is None or theirs.examples != mine[rung].examples:
            return False
        view = optuna.create_study(direction="maximize")
        view.add_trial(
            optuna.trial.create_trial(
                value=best.value, intermediate_values=dict(enumerate(theirs.values.tolist()))
            )
        )
        own = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            intermediate_values=dict(enumerate(mine[rung].values.tolist())),
        )
        return self._pruner.prune(view, own)


def _paired(make_rule: Callable[..., Rule]) -> Maker:
    """A maker for the paired comparison with the settings of `make_rule`."""

    def make(
        options: Mapping[str, Any], config: RunConfig, rungs: int, peers: int | None
    ) -> BasePruner:
        given = {name: float(value) for name, value in options.items()}
        for name, value in given.items():
            if not (0 <= value < math.inf if name == "hope" else 0 < value < 1):
                wanted = "be a number from 0 on" if name == "hope" else "lie between 0 and 1"
                raise ValueError(f"{name} = {value} must {wanted}")
        return PairedPruner(make_rule(rungs, config.pruner_warmup, **given), peers=peers)

    return make


def _with_warmup(name: str, **defaults: Any) -> Maker:
    """A maker for Optuna's pruners that know warm-up steps."""

    def make(options: Mapping[str, Any], config: RunConfig, *_: object) -> BasePruner:
        return _CLASSES[name](**{"n_warmup_steps": config.pruner_warmup, **defaults, **options})

    return make


def _halving(options: Mapping[str, Any], config: RunConfig, *_: object) -> BasePruner:
    # Optuna's "auto" waits for a complete trial, so runs in lock-step would never be stopped.
    return pruners.SuccessiveHalvingPruner(
        **{"min_resource": max(1, config.pruner_warmup), "reduction_factor": 3, **options}
    )


def _hyperband(options: Mapping[str, Any], config: RunConfig, rungs: int, *_: object) -> BasePruner:
    least = max(1, config.pruner_warmup)
    return pruners.HyperbandPruner(
        **{"min_resource": least, "max_resource": max(rungs, least), **options}
    )


def _patient(
    options: Mapping[str, Any], config: RunConfig, rungs: int, peers: int | None
) -> BasePruner:
    given = dict(options)
    wrapped = given.pop("wrapped", None)
    if wrapped in ("patient", "none"):
        raise ValueError(f"wrapped = {wrapped!r} is not a pruner to be patient with")
    inner = None if wrapped is None else _build(str(wrapped), {}, config, rungs, peers)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return pruners.PatientPruner(inner, **given)


def _wilcoxon(options: Mapping[str, Any], config: RunConfig, *_: object) -> BasePruner:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return ExampleWilcoxonPruner(pruners.WilcoxonPruner(**options), config.pruner_warmup)


_CLASSES: dict[str, type[BasePruner]] = {
    "median": pruners.MedianPruner,
    "percentile": pruners.PercentilePruner,
    "successive_halving": pruners.SuccessiveHalvingPruner,
    "hyperband": pruners.HyperbandPruner,
    "patient": pruners.PatientPruner,
    "wilcoxon": pruners.WilcoxonPruner,
    "threshold": pruners.ThresholdPruner,
}

_MAKERS: dict[str, Maker] = {
    "paired": _paired(Rule),
    "paired_patient": _paired(Rule.patient),
    "paired_bold": _paired(Rule.bold),
    "median": _with_warmup("median"),
    "percentile": _with_warmup("percentile", percentile=25.0),
    "successive_halving": _halving,
    "hyperband": _hyperband,
    "patient": _patient,
    "wilcoxon": _wilcoxon,
    "threshold": _with_warmup("threshold"),
    "none": lambda *_: pruners.NopPruner(),
}
