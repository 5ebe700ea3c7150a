"""Trends: exact for curves that saturate, bounded, and slow to call a rise over."""

import numpy as np
import pytest

from agent.search.example_scores import ExampleScores
from agent.search.trend import FASTEST, trend

EXAMPLES = 100


def history(*means: float) -> tuple[ExampleScores, ...]:
    """Scores whose examples differ, with a little chance at each point."""
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 0.2, EXAMPLES)
    noise = rng.normal(0, 0.02, (len(means), EXAMPLES))
    noise -= noise.mean(axis=1, keepdims=True)
    rows = [mean + hard - hard.mean() + own for mean, own in zip(means, noise, strict=True)]
    return tuple(ExampleScores("same", row) for row in rows)


def saturating(points: int, ratio: float, top: float = 0.8) -> list[float]:
    return [top * (1 - ratio**t) for t in range(1, points + 1)]


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.75])
@pytest.mark.parametrize("points", [2, 3, 5])
def test_the_forecast_is_exact_for_a_curve_that_saturates(ratio: float, points: int) -> None:
    curve = saturating(9, ratio)
    found = trend(history(*curve[:points]), 9 - points, from_nothing=True)
    assert found.mean == pytest.approx(curve[8] - curve[points - 1], abs=1e-6)


def test_a_rise_that_speeds_up_is_not_carried_on_for_ever() -> None:
    found = trend(history(0.1, 0.2, 0.4), 100, from_nothing=True)
    assert found.mean == pytest.approx(0.2 * FASTEST / (1 - FASTEST), abs=1e-6)


def test_a_loss_is_not_carried_on() -> None:
    found = trend(history(0.5, 0.4), 7, from_nothing=True)
    assert found.mean == 0.0
    assert not found.gains.any()


@pytest.mark.parametrize(
    ("means", "is_over"),
    [
        pytest.param([0.4, 0.5], True, id="saturates"),
        pytest.param([0.1, 0.4], False, id="lags"),
        pytest.param([0.01, 0.03, 0.08, 0.2, 0.4], False, id="sigmoid before its middle"),
        pytest.param([0.08, 0.2, 0.4, 0.6, 0.72], True, id="sigmoid past its middle"),
        pytest.param([0.3, 0.5, 0.5, 0.5], True, id="plateau"),
    ],
)
def test_a_rise_is_over_when_the_last_gain_is_less_than_the_steepest(
    means: list[float], is_over: bool
) -> None:
    assert (trend(history(*means), 3, from_nothing=True).slowing <= 0.1) == is_over


def test_without_a_known_beginning_three_points_are_needed() -> None:
    assert trend(history(0.5, 0.5), 7, from_nothing=False).slowing == 1.0
    assert trend(history(0.5, 0.6, 0.62), 6, from_nothing=False).slowing <= 0.1
    assert trend(history(0.5), 8, from_nothing=True).slowing == 1.0


def test_a_curve_that_stands_still_has_not_risen() -> None:
    assert trend(history(0.5, 0.5, 0.5, 0.5), 5, from_nothing=False).rising > 0.1
    assert trend(history(0.5, 0.6, 0.6, 0.6), 5, from_nothing=False).rising <= 0.1
