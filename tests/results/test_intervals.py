import numpy as np
import pytest

from agent.results import intervals
from agent.results.intervals import Floats, Sides, align, difference_interval, ratio_interval
from tests.tools import prove_intervals
from tests.tools.prove_intervals import World


def _sides(treated: Floats, baseline: Floats, size: int = 1, *, is_paired: bool = False) -> Sides:
    two = [np.atleast_2d(np.asarray(side, dtype=np.float64)) for side in (treated, baseline)]
    return Sides(two[0], two[1], np.arange(two[0].shape[1]) // size, is_paired)


def test_an_interval_never_shrinks_to_a_point() -> None:
    equal = ratio_interval(_sides(np.ones(60), np.ones(60)))
    assert equal is not None
    # Nothing differs in 60: the rule of three (97.5 %) allows 3.84 of them to.
    assert equal.low == pytest.approx(1 - 1.96 * 1.96 / 60, abs=0.005)
    assert equal.high == pytest.approx(1 + 1.96 * 1.96 / 60, abs=0.005)
    assert equal.examples == equal.clusters == 60


def test_equal_documents_say_less_than_equal_examples() -> None:
    alone = ratio_interval(_sides(np.ones(60), np.ones(60)))
    together = ratio_interval(_sides(np.ones(60), np.ones(60), 10))
    assert alone is not None
    assert together is not None
    assert together.high - together.low > 3 * (alone.high - alone.low)
    assert together.clusters == 6


def test_pairing_takes_the_difficulty_of_the_examples_out() -> None:
    generator = np.random.default_rng(1)
    easy = generator.random(200)
    harder = np.clip(easy - 0.05, 0, 1)
    paired = difference_interval(_sides(easy, harder))
    unpaired = difference_interval(_sides(easy, generator.permutation(harder)))
    assert paired is not None
    assert unpaired is not None
    assert paired.low > 0
    assert unpaired.low < 0


def test_with_one_seed_it_is_nearly_the_t_interval_of_a_mean_difference() -> None:
    scores = np.random.default_rng(2).random(400)
    found = difference_interval(_sides(scores, np.zeros(400)))
    half = 1.96 * scores.std() / 20
    assert found is not None
    assert found.low == pytest.approx(scores.mean() - half, abs=0.002)
    assert found.high == pytest.approx(scores.mean() + half, abs=0.002)


def test_over_seeds_alone_it_is_nearly_the_t_interval_over_seeds() -> None:
    """Examples that say nothing (each scores the same in a run): what is left are the seeds."""
    means = np.array([0.5, 0.6, 0.7])
    sides = _sides(np.repeat(means[:, None], 5000, 1), np.full((3, 5000), 0.5), is_paired=True)
    found = difference_interval(sides)
    assert found is not None
    half = 4.3027 * 0.1 / np.sqrt(3)
    assert [found.low, found.high] == pytest.approx([0.1 - half, 0.1 + half], abs=0.002)


def test_one_seed_speaks_against_nothing() -> None:
    one = ratio_interval(_sides(np.full(500, 0.5), np.ones(500)))
    assert one is not None
    assert one.high < 0.6
    assert not one.covers_training
    assert not one.excludes(1.0)
    three = ratio_interval(_sides(np.full((3, 500), 0.5), np.ones((3, 500))))
    assert three is not None
    assert three.excludes(1.0)
    assert (three.seeds, three.examples) == (3, 500)


def test_the_side_with_fewer_seeds_counts() -> None:
    found = ratio_interval(_sides(np.ones((3, 50)), np.ones((1, 50))))
    assert found is not None
    assert found.seeds == 1


def test_a_known_noise_of_training_widens_the_interval_of_single_seeds() -> None:
    sides = _sides(np.full(1000, 0.663), np.full(1000, 0.606))
    without, known = difference_interval(sides), difference_interval(sides, 0.04)
    assert without is not None
    assert known is not None
    assert without.low > 0
    assert known.low < 0


def test_one_training_served_twice_is_more_precise_than_two_trainings() -> None:
    generator = np.random.default_rng(5)
    seeds = 0.6 + 0.05 * generator.standard_normal((5, 1))
    baseline = np.clip(seeds + 0.1 * generator.standard_normal((5, 400)), 0, 1)
    treated = np.clip(baseline - 0.02, 0, 1)
    paired = ratio_interval(_sides(treated, baseline, is_paired=True))
    apart = ratio_interval(_sides(treated, baseline))
    assert paired is not None
    assert apart is not None
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)


def test_a_ratio_over_nothing_has_no_interval() -> None:
    assert ratio_interval(_sides(np.ones(20), np.zeros(20))) is None
    assert ratio_interval(_sides(np.ones(20), np.ones(20), 20)) is None  # one document only
    weak = np.zeros(20)
    weak[0] = 1.0
    assert ratio_interval(_sides(np.ones(20), weak)) is None


def test_only_examples_that_every_run_answered_are_aligned() -> None:
    found = align(
        {0: [{"a": 1.0, "b": 0.0, "d": 1.0}], 1: [{"a": 0.0, "b": 0.0, "c": 1.0}]},
        {0: [{"a": 1.0, "b": 1.0}]},
        {"a": "one", "b": "one"},
    )
    assert found is not None
    assert found.treated.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert found.baseline.tolist() == [[1.0, 1.0]]
    assert (found.examples, found.seeds, found.cluster_count) == (2, 1, 1)
    assert align({0: [{"a": 1.0}]}, {0: [{}]}) is None


def test_a_seed_that_ran_twice_counts_once() -> None:
    found = align({0: [{"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 1.0}]}, {0: [{"a": 1.0, "b": 1.0}]})
    assert found is not None
    assert found.treated.tolist() == [[0.5, 1.0]]


@pytest.mark.parametrize(
    "world",
    [
        World("seeds", 3, 60, gain=-0.05),
        World("seeds", 3, 1000),
        World("clusters", 3, 200, is_clustered=True, gain=-0.05),
        World("flips", 3, 60, flips=0.005),
        World("flips", 5, 200, is_clustered=True, flips=0.02, is_paired=True),
        World("seeds", 2, 61),
        World("seeds", 2, 457, others=5, gain=-0.05),
        World("seeds", 5, 61, others=2, is_clustered=True),
        World("flips", 10, 61, others=3, flips=0.01),
    ],
    ids=lambda world: str(world.name),
)
def test_the_intervals_cover_what_they_say(world: World) -> None:
    """Small counts; `python -m tests.prove intervals` has the full ones."""
    assert prove_intervals.coverage(world, 400) >= 0.93


@pytest.mark.parametrize(("seeds", "others"), [(3, 0), (5, 0), (2, 0), (5, 2), (3, 10)])
def test_two_equal_variants_are_rarely_called_different(seeds: int, others: int) -> None:
    world = World("seeds", seeds, 1000, others=others)
    assert prove_intervals.called_different(world, 1500) <= 0.06


def test_the_floor_follows_the_beta_binomial_law() -> None:
    """Rare differences drawn in clusters of 10: the variance per hit cluster."""
    generator = np.random.default_rng(3)
    rate, odds = 0.002, 1 / intervals.UNSEEN_ICC - 1
    hit = generator.binomial(10, generator.beta(rate * odds, (1 - rate) * odds, 400_000))
    per_hit = float((hit[hit > 0] ** 2).mean())
    floor = intervals._floor(_sides(np.ones(100), np.ones(100), 10))
    assert floor == pytest.approx(intervals.Z**2 * per_hit / 100**2, rel=0.05)
