"""Pruners by their names: each runs, prunes, and refuses options that it does not have."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from agent.config.rules import PRUNERS
from agent.errors import ConfigError
from agent.search.pruners import build_pruner, options_of
from tests.search.trial_lab import config, examples, opened, trials_in


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_runs_to_the_end_of_the_budget(journal: Path, name: str) -> None:
    options = {"patient": {"patience": 1}, "threshold": {"lower": 0.1}}.get(name, {})
    with opened(journal, "a", 1e-3, pruner=name, pruner_options=options) as trial:
        for rung, mean in enumerate((0.3, 0.4, 0.5), 1):
            trial.report(rung, examples(mean))
    assert trials_in(journal)[0].state == TrialState.COMPLETE


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("median", {"n_startup_trials": 1}),
        ("percentile", {"n_startup_trials": 1, "percentile": 50}),
        ("successive_halving", {}),
        ("threshold", {"lower": 0.35}),
        ("wilcoxon", {}),
        ("patient", {"patience": 0, "wrapped": "wilcoxon"}),
    ],
)
def test_optunas_own_pruners_prune_against_a_complete_run(
    journal: Path, name: str, options: dict[str, Any]
) -> None:
    chosen: dict[str, Any] = {"pruner": name, "pruner_options": options}
    with opened(journal, "a", 1e-3, **chosen) as trial:
        for rung in (1, 2, 3):
            trial.report(rung, examples(0.8))
    with opened(journal, "b", 1e-2, **chosen) as trial:
        trial.report(1, examples(0.3))
        assert trial.report(2, examples(0.25)).prune
        assert trial.report(3, examples(0.9)) == trial.verdict  # said once, it holds
    assert [t.state for t in trials_in(journal)] == [TrialState.COMPLETE, TrialState.PRUNED]


def test_none_prunes_nothing(journal: Path) -> None:
    with (
        opened(journal, "a", 1e-3, pruner="none") as a,
        opened(journal, "b", 1e-2, pruner="none") as b,
    ):
        a.report(1, examples(0.9))
        assert not b.report(1, examples(0.1)).prune


@pytest.mark.parametrize("name", PRUNERS)
def test_an_unknown_option_is_answered_with_the_valid_ones(name: str) -> None:
    wrong = config(pruner=name, pruner_options={"colour": 1, "shape": 2})
    with pytest.raises(ConfigError, match="'colour' is not an option") as caught:
        build_pruner(wrong, rungs=9, peers=3)
    assert len(caught.value.problems) == 2
    for option in options_of(name) or ("valid: none",):
        assert option in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("paired", {"level": 2}, "level = 2.0 must lie between 0 and 1"),
        ("paired", {"hope": "x"}, "could not convert"),
        ("patient", {}, "patience"),
        ("patient", {"patience": 1, "wrapped": "nonsense"}, "unknown pruner 'nonsense'"),
        ("threshold", {}, "lower or upper"),
        ("percentile", {"percentile": 200}, "between 0 and 100"),
    ],
)
def test_an_option_the_pruner_refuses_is_a_config_error(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_pruner(config(pruner=name, pruner_options=options), rungs=9, peers=3)
