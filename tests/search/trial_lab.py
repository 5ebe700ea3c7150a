"""Trials over a journal of their own, and what Optuna reads of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

from agent.config.run_config import RunConfig
from agent.search.trials import BEAT_S, open_trial

RUNGS = 3


def config(rate: float = 1e-3, **values: Any) -> RunConfig:
    return RunConfig.parse(
        {"model_variant": "Full LoRA", "dataset": "d.json", "learning_rate": rate, **values}
    )


def examples(mean: float, count: int = 40) -> Mapping[str, float]:
    hard = np.random.default_rng(3).normal(0, 0.2, count)
    own = np.random.default_rng(int(mean * 1e6)).normal(0, 0.02, count)
    return {f"e{i:02}": float(mean + hard[i] + own[i]) for i in range(count)}


def report_twice(trial: Any, mean: float) -> Any:
    """The verdict on a run that gains nothing from its first rung to its second."""
    trial.report(1, examples(mean))
    return trial.report(2, examples(mean))


def opened(
    journal: Path,
    run: str,
    rate: float,
    peers: int | None = 3,
    *,
    scope: str = "me/project",
    rungs: int = RUNGS,
    beat_s: float = BEAT_S,
    **values: Any,
) -> Any:
    """The trial of a run; `values` belong to its config."""
    return open_trial(
        config(rate, **values),
        run_id=run,
        scope=scope,
        rungs=rungs,
        peers=peers,
        default_journal=journal,
        beat_s=beat_s,
    )


def trials_in(journal: Path) -> list[optuna.trial.FrozenTrial]:
    """What Optuna itself reads, without any of our code."""
    lock = JournalFileOpenLock(str(journal))
    storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
    studies = optuna.get_all_study_names(storage)
    return [
        t for name in studies for t in optuna.load_study(study_name=name, storage=storage).trials
    ]
