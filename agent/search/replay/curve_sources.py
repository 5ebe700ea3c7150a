"""Where finished curves come from: the pruning storage of a sweep, or W&B's history of its runs.

Only points that were trained to the end count, so a sweep to be replayed runs with `pruner: none`.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from agent.config.run_config import RunConfig, digest
from agent.errors import DataError
from agent.search import paired_pruner
from agent.search.example_scores import HISTORY_KEY, ExampleScores

DECIMALS = 4  # of a score in a curves file

Item = dict[str, Any]  # a stratum in the form of the curves file


def from_storage(storage: BaseStorage) -> list[Item]:
    """The full curves of every study in a pruning storage."""
    items = []
    for name in sorted(optuna.get_all_study_names(storage)):
        study = optuna.load_study(study_name=name, storage=storage)
        stratum = study.user_attrs.get("stratum")
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if stratum and trials:
            values = json.loads(stratum)
            config = RunConfig.parse({**values, **trials[0].params}, where=f"study {name}")
            entries = {
                paired_pruner.point_of(trial): _entry_of_trial(trial, values) for trial in trials
            }
            items.append(_item(config, entries))
    return items


def _entry_of_trial(trial: FrozenTrial, stratum: Mapping[str, object]) -> Item:
    config = RunConfig.parse({**stratum, **trial.params})
    return _entry(config, [scores for _, scores in sorted(paired_pruner.scores_of(trial).items())])


def from_runs(runs: Iterable[Any], *, where: str) -> list[Item]:
    """The full curves of W&B runs; runs that did not finish are left out."""
    strata: dict[str, tuple[RunConfig, dict[str, Item]]] = {}
    longest = 0
    for run in runs:
        if run.state != "finished":
            continue
        known = {k: v for k, v in run.config.items() if k in RunConfig.model_fields}
        config = RunConfig.parse(known, where=f"run {run.id}")
        texts = [row[HISTORY_KEY] for row in run.scan_history(keys=[HISTORY_KEY])]
        if not texts:
            raise DataError(
                f"run {run.id} of {where} has no {HISTORY_KEY} in its history; replay needs runs "
                "of this program"
            )
        scores = [ExampleScores.decode(text) for text in texts]
        longest = max(longest, len(scores))
        entries = strata.setdefault(config.stratum_key(), (config, {}))[1]
        entries[json.dumps(config.tuned_values(), sort_keys=True)] = _entry(config, scores)
    for _, entries in strata.values():
        for point in [p for p, entry in entries.items() if len(entry["scores"]) < longest]:
            del entries[point]  # pruned: its state says finished, too
    return [_item(config, entries) for _, (config, entries) in sorted(strata.items()) if entries]


def _entry(config: RunConfig, scores: Iterable[ExampleScores]) -> Item:
    return {
        "point": config.tuned_values(),
        "training": digest(
            {
                **config.values_of("training"),
                "training_precision": config.variant.training_precision,
            }
        ),
        "scores": [[round(float(v), DECIMALS) for v in score.values] for score in scores],
    }


def _item(config: RunConfig, entries: Mapping[str, Item]) -> Item:
    cell = config.cell_name
    return {
        "name": f"{cell} seed={config.seed} {config.stratum_key()[:6]}",
        "curves": [entry for _, entry in sorted(entries.items())],
    }
