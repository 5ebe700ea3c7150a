"""Made-up families: their truth is true, the batch plays what the pruner decides, and the pruner
keeps what it promises on small counts (the full ones: `python -m tests.prove search`)."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.config.rules import PAIRED
from agent.errors import ConfigError
from agent.search.replay import curves, families
from agent.search.replay.curves import Stratum
from agent.search.replay.families import FAMILIES, LATE, ORDINARY, drawn_scores, made
from agent.search.replay.policies import PairedPolicy, policy
from agent.search.replay.replay import TOLERATED, replay, run_cases
from agent.search.replay.simulation import chosen_run
from tests.tools import frontier_picture, pruning_frontier
from tests.tools.pruning_frontier import Counts, Setting


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_number_gives_the_same_stratum_and_another_one_another(family: str) -> None:
    first, again, other = (made(family, number, examples=20) for number in (3, 3, 4))
    assert np.array_equal(first.curves[0].values, again.curves[0].values)
    assert not np.array_equal(first.truth, other.truth)
    assert first.truth.shape == (8, 9)
    assert len({curve.point for curve in first.curves}) == 8


def test_scores_are_drawn_around_their_truth() -> None:
    truth = np.array([[0.01, 0.3], [0.5, 0.97]])
    scores = drawn_scores(truth, 40000, np.random.default_rng(0))
    assert scores.mean(axis=2) == pytest.approx(truth, abs=0.01)


def test_the_one_rung_lag_is_the_known_case() -> None:
    truth = np.mean([made("one_rung_lag", i, examples=2).truth for i in range(50)], axis=0)
    assert truth[-1, :3] == pytest.approx([0.10, 0.40, 0.69], abs=0.01)
    assert truth[0, :3] == pytest.approx([0.40, 0.65, 0.71], abs=0.01)
    assert truth[-1, -1] - truth[0, -1] == pytest.approx(0.06, abs=0.01)


def test_regret_is_judged_by_the_truth() -> None:
    flat = made("flat", 0, examples=30)
    assert [flat.regret(i) for i in range(8)] == [0.0] * 8
    lag = made("one_rung_lag", 1, examples=500)
    assert lag.winner == 7
    assert lag.regret(0) == pytest.approx(lag.truth[7, -1] - lag.truth[0, -1])


def test_an_unknown_family_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown family 'flatt'; did you mean 'flat'"):
        made("flatt", 0, examples=20)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PAIRED)
def test_the_batch_plays_what_the_pruner_decides(family: str, name: str) -> None:
    stratum = made(family, 0, examples=64)
    for warmup, workers in ((0, 1), (1, 3), (3, 8)):
        chosen = policy(name, warmup=warmup)
        assert isinstance(chosen, PairedPolicy)
        orders = np.array([np.random.default_rng(i).permutation(8) for i in range(2)])
        played = chosen.batch([stratum], orders[None], workers)[0].tolist()
        assert played == [chosen(stratum, [int(i) for i in order], workers) for order in orders]


# ---------------------------------------------------------------------- what is promised
@lru_cache(maxsize=16)
def strata(family: str) -> tuple[Stratum, ...]:
    return tuple(made(family, 5000 + i, examples=n) for n in (64, 200, 500) for i in range(4))


def kept(names: Iterable[str], pruner: str, workers: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The share of orders that keep the winner, for each stratum of these families."""
    chosen = policy(pruner, warmup=1)
    regrets = [run_cases(strata(name), chosen, workers, 4, 0).regret for name in names]
    shares: np.ndarray[Any, np.dtype[np.float64]] = np.concatenate(
        [(regret <= TOLERATED + 1e-9).mean(axis=1) for regret in regrets]
    )
    return shares


@pytest.mark.parametrize("workers", [1, 4, 8])
@pytest.mark.parametrize("pruner", ["paired", "paired_patient"])
def test_winners_are_kept_on_ordinary_families_and_on_late_ones(pruner: str, workers: int) -> None:
    """No fewer than promised, by more than two standard errors of so few strata."""
    for group, promised in ((ORDINARY, 0.95), (LATE, 0.85)):
        shares = kept(group, pruner, workers)
        error = shares.std(ddof=1) / np.sqrt(len(shares))
        assert shares.mean() >= promised - 2 * error


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
@pytest.mark.parametrize("pruner", PAIRED)
def test_rates_in_ascending_order_leave_no_hopeless_run_for_the_winner(
    pruner: str, workers: int
) -> None:
    """The highest rate comes last: it has hardly begun when the good ones outrun each other."""
    chosen = policy(pruner, warmup=1)
    assert isinstance(chosen, PairedPolicy)
    found = curves.load(pruning_frontier.CURVES)
    orders = np.array([[rates_ascending(stratum)] for stratum in found])
    for stratum, (trained,) in zip(found, chosen.batch(found, orders, workers), strict=True):
        assert stratum.regret(chosen_run(stratum, trained.tolist())) <= 0.05, stratum.name


def rates_ascending(stratum: Stratum) -> list[int]:
    rates = [float(curve.point.split("=")[1]) for curve in stratum.curves]
    return sorted(range(len(rates)), key=rates.__getitem__)


def test_the_default_saves_most_of_what_an_oracle_saves() -> None:
    rows = [
        row
        for name in ORDINARY
        for row in replay(strata(name), ["paired"], warmup=1, workers=[1, 4, 8], orders=4)
    ]
    assert np.mean([row.oracle_share for row in rows]) >= 0.65  # 0.70 over the full counts


@pytest.mark.parametrize(("pruner", "level"), [("paired", 0.8), ("paired_patient", 0.10)])
def test_equal_runs_are_stopped_no_more_often_than_stated(pruner: str, level: float) -> None:
    flat = [made("flat", 7000 + i, examples=200) for i in range(25)]
    for workers in (1, 8):
        (row,) = replay(flat, [pruner], warmup=1, workers=[workers], orders=2)
        assert row.good_stopped <= level


# ---------------------------------------------------------------------- the frontier
def test_no_training_is_developed_on_and_reported() -> None:
    halves = [pruning_frontier.real_half(developed_on=half) for half in (True, False)]
    trainings = [{c.training for s in half for c in s.curves} for half in halves]
    assert [len(half) for half in halves] == [7, 8]
    assert not trainings[0] & trainings[1]


def test_the_frontier_is_measured_and_drawn(tmp_path: Path) -> None:
    names = (*ORDINARY, *LATE)
    chosen = (
        Setting("paired", "level 0.8", (("level", 0.8),)),
        Setting("hope for half of the last gain", "level 0.2", (("level", 0.2),)),
        Setting("lag of one rung", "level 0.1", (("level", 0.1),)),
        Setting("posterior curves", "chance 0.1", (("chance", 0.1),)),
        Setting("first rung, then top K", "top_2"),
        Setting("none", "none"),
    )
    counts = Counts(1, 1, 1, 1)
    rows = [pruning_frontier._row((s, 1, 0, counts, names)) for s in chosen]
    assert all(0 <= row["share"] <= 1 for row in rows)
    assert rows[-1]["cost"] == 1.0
    assert set(rows[0]["families"]) == {*ORDINARY, *LATE}
    frontier_picture.draw({"frontier": rows}, tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_every_setting_of_the_frontier_is_known() -> None:
    found = pruning_frontier.settings()
    assert len({s.rule for s in found}) >= 5
    for setting in found:
        setting.policy(1)
    assert set(pruning_frontier.KNOWN).isdisjoint(families.UNSEEN)
