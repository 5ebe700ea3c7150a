"""One Optuna study per stratum: its name, its parameters, and the trial of a run in it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, get_args

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from agent.config.run_config import RunConfig
from agent.config.values import point_text
from agent.search import paired_pruner

LONGEST_NAME = 250  # databases cut longer study names

ABANDONED_AFTER_S = 7 * 24 * 3600.0  # a suspended trial that was not resumed is failed
STUDY_SCORE = "validation/f1_score"


def study_name(scope: str, config: RunConfig) -> str:
    """Readable, and the same for all runs that may be compared and for no others."""
    cell = config.cell_name
    name = f"{scope} | {cell} | {config.stratum_key()}"
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(scope.encode()).hexdigest()[:16]
    return f"{digest} | {cell} | {config.stratum_key()}"


def open_study(storage: BaseStorage, scope: str, config: RunConfig, pruner: BasePruner) -> Study:
    """The study of the config's stratum, made when it does not exist yet."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = study_name(scope, config)
    sampler = optuna.samplers.RandomSampler()  # never asked: grid points come from the sweep
    try:
        return optuna.load_study(study_name=name, storage=storage, pruner=pruner, sampler=sampler)
    except KeyError:
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            pruner=pruner,
            sampler=sampler,
            direction="maximize",
            load_if_exists=True,
        )
        study.set_user_attr("stratum", json.dumps(config.stratum(), sort_keys=True))
        study.set_user_attr("score", STUDY_SCORE)
        return study


def adopt_trial(
    study: Study, storage: BaseStorage, config: RunConfig, run_id: str, alive_until: float
) -> FrozenTrial:
    """The trial of a run: the one it had (also after a kill), or a new one.

    A trial that was failed in the meantime cannot be taken up again, so a new one carries its
    scores on.
    """
    own = [
        t
        for t in study.get_trials(deepcopy=False)
        if t.system_attrs.get(paired_pruner.RUN) == run_id
    ]
    for trial in own:
        if trial.state == TrialState.FAIL:
            continue
        if trial.state == TrialState.WAITING:
            storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        if not trial.state.is_finished():
            storage.set_trial_system_attr(trial._trial_id, paired_pruner.ALIVE_UNTIL, alive_until)
            attributes = trial.system_attrs
            if attributes.get(paired_pruner.LEAVING) and paired_pruner.VERDICT not in attributes:
                # its last life was killed while it asked whether it may leave
                storage.set_trial_system_attr(trial._trial_id, paired_pruner.LEAVING, False)
        return storage.get_trial(trial._trial_id)
    study.add_trial(_new_trial(config, run_id, alive_until, own[-1] if own else None))
    return next(
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.system_attrs.get(paired_pruner.RUN) == run_id and trial.state != TrialState.FAIL
    )


def _new_trial(
    config: RunConfig, run_id: str, alive_until: float, former: FrozenTrial | None
) -> FrozenTrial:
    values = config.tuned_values()
    distributions = {name: found for name in values if (found := distribution_of(name)) is not None}
    attributes: dict[str, Any] = {
        paired_pruner.RUN: run_id,
        paired_pruner.POINT: point_text(config.tuned_values()),
        paired_pruner.ALIVE_UNTIL: alive_until,
    }
    reported: Mapping[int, float] = {}
    if former is not None:
        reported = former.intermediate_values
        attributes |= {
            name: text
            for name, text in former.system_attrs.items()
            if name.startswith(paired_pruner.SCORES)
        }
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params={name: values[name] for name in distributions},
        distributions=distributions,
        user_attrs={"run_id": run_id, "name": config.display_name()},
        system_attrs=attributes,
        intermediate_values=dict(reported),
    )


def distribution_of(name: str) -> BaseDistribution | None:
    """A distribution that holds every value of a config field; None for free text.

    It has to be the same in all trials of a study, so it comes from the field, not from a sweep.
    """
    field = RunConfig.model_fields[name]
    limits = {kind: getattr(item, kind) for item in field.metadata for kind in _kinds(item)}
    types = {field.annotation, *get_args(field.annotation)}
    if bool in types:
        return CategoricalDistribution([False, True])
    if int in types:
        return IntDistribution(int(limits.get("ge", 0)), 2**31 - 1)
    if float in types:
        positive = "gt" in limits
        low = 1e-12 if positive else float(limits.get("ge", 0.0))
        high = float(limits.get("le", limits.get("lt", 1e12)))
        return FloatDistribution(low, high, log=positive)
    words = [word for word in get_args(field.annotation) if isinstance(word, str)]
    return CategoricalDistribution(words) if words else None


def _kinds(item: object) -> list[str]:
    return [kind for kind in ("ge", "gt", "le", "lt") if hasattr(item, kind)]


def release_stale(storage: BaseStorage, now: float) -> int:
    """Free every study from trials whose worker is gone; returns how many were touched.

    A running trial that is not renewed any more is put to waiting, where its run finds it again
    if it is ever resumed; one that waits for a week is failed.
    """
    touched = 0
    for study in storage.get_all_studies():
        for trial in storage.get_all_trials(study._study_id, deepcopy=False):
            touched += _release(storage, trial, now)
    return touched


def _release(storage: BaseStorage, trial: FrozenTrial, now: float) -> bool:
    if paired_pruner.ALIVE_UNTIL not in trial.system_attrs or trial.state.is_finished():
        return False
    late_s = now - float(trial.system_attrs[paired_pruner.ALIVE_UNTIL])
    if trial.state == TrialState.RUNNING and late_s > 0:
        return _set_state(storage, trial, TrialState.WAITING)
    if trial.state == TrialState.WAITING and late_s > ABANDONED_AFTER_S:
        return _set_state(storage, trial, TrialState.FAIL)
    return False


def supersede(study: Study, storage: BaseStorage, run_id: str, point: str, now: float) -> None:
    """Fail what dead workers left of a grid point that `run_id` now runs again."""
    for trial in study.get_trials(deepcopy=False):
        gone = trial.state == TrialState.WAITING or (
            trial.state == TrialState.RUNNING
            and paired_pruner.standing_of(trial, now) == "suspended"
        )
        others = trial.system_attrs.get(paired_pruner.RUN) not in (None, run_id)
        if gone and others and paired_pruner.point_of(trial) == point:
            _set_state(storage, trial, TrialState.FAIL)


def _set_state(storage: BaseStorage, trial: FrozenTrial, state: TrialState) -> bool:
    try:
        return storage.set_trial_state_values(trial._trial_id, state)
    except optuna.exceptions.UpdateFinishedTrialError:
        return False  # its worker ended it in the meantime
