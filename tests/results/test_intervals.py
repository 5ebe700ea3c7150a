import numpy as np
import pytest

from agent.results import intervals


def test_the_interval_of_a_constant_ratio_is_that_ratio() -> None:
    baseline = np.linspace(0.2, 1.0, 50)
    found = intervals.ratio_interval(baseline * 0.5, baseline)
    assert found is not None
    assert [found.low, found.high] == pytest.approx([0.5, 0.5])
    assert found.examples == 50


def test_pairing_takes_the_difficulty_of_the_examples_out() -> None:
    generator = np.random.default_rng(1)
    easy = generator.random(200)
    harder = np.clip(easy - 0.05, 0, 1)
    paired = intervals.difference_interval(easy, harder)
    unpaired = intervals.difference_interval(easy, generator.permutation(harder))
    assert paired is not None
    assert unpaired is not None
    assert paired.low > 0
    assert unpaired.low < 0


def test_the_bootstrap_agrees_with_the_normal_interval_of_a_mean() -> None:
    scores = np.random.default_rng(2).random(400)
    found = intervals.difference_interval(scores, np.zeros(len(scores)))
    half = 1.96 * scores.std() / 20
    assert found is not None
    assert found.low == pytest.approx(scores.mean() - half, abs=0.003)
    assert found.high == pytest.approx(scores.mean() + half, abs=0.003)


def test_large_samples_are_resampled_in_pieces_with_nearly_the_same_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = np.random.default_rng(3).random(100)
    whole = intervals.difference_interval(scores, np.zeros(len(scores)))
    monkeypatch.setattr(intervals, "_CELLS_AT_ONCE", 1000)
    pieces = intervals.difference_interval(scores, np.zeros(len(scores)))
    assert whole is not None
    assert pieces is not None
    assert [pieces.low, pieces.high] == pytest.approx([whole.low, whole.high], abs=0.005)
    assert pieces == intervals.difference_interval(scores, np.zeros(len(scores)))


def test_a_ratio_over_nothing_has_no_interval() -> None:
    assert intervals.ratio_interval(np.ones(20), np.zeros(20)) is None
    assert intervals.ratio_interval(np.ones(1), np.ones(1)) is None


def test_only_examples_that_every_run_answered_are_paired() -> None:
    first, second = intervals.paired_scores(
        [{"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0, "c": 1.0}], [{"a": 1.0, "b": 1.0}]
    )
    assert first.tolist() == [0.5, 0.0]
    assert second.tolist() == [1.0, 1.0]
    assert intervals.paired_scores([{"a": 1.0}], [{}])[0].size == 0
