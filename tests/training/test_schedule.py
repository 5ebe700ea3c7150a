"""Steps, evaluation points and rates as pure functions."""

import math
from itertools import combinations, pairwise
from pathlib import Path
from random import Random

import pytest

from agent.errors import DataError
from agent.training.schedule import (
    PASS_TOKENS,
    Plan,
    learning_rate_at,
    make_plan,
    passes_of_like_length,
)
from tests.training import lab


def plan(lengths: int = 10, batch: int = 4, epochs: int = 2, every: float = 1.0) -> Plan:
    return Plan(tuple(range(1, lengths + 1)), batch, epochs, every, seed=0)


@pytest.mark.parametrize(
    ("epochs", "every", "steps"),
    [
        (2, 1.0, (25, 50)),
        (1, 0.25, (6, 12, 19, 25)),  # 25 steps do not divide by four: nearest steps
        (1, 1.0, (25,)),
        (3, 2.0, (50, 75)),  # the end is always a point
        (1, 0.001, tuple(range(1, 26))),  # no more points than steps
        (1, 0.3, (8, 15, 22, 25)),
        (10, 0.1, tuple(round(2.5 * k) for k in range(1, 101))),
    ],
)
def test_evaluation_points_follow_eval_every(
    epochs: int, every: float, steps: tuple[int, ...]
) -> None:
    assert plan(100, 4, epochs, every).point_steps == steps


def test_every_example_is_trained_once_an_epoch_the_last_batch_is_what_is_left() -> None:
    made = plan()
    for epoch in range(2):
        steps = range(epoch * 3 + 1, epoch * 3 + 4)
        batches = [made.batch(step) for step in steps]
        assert sorted(index for batch in batches for index in batch) == list(range(10))
        assert sorted(map(len, batches)) == [2, 4, 4]


def test_epochs_come_in_different_order_and_seeds_too() -> None:
    made = plan(epochs=2)
    assert made.batch(2) != made.batch(5)
    assert Plan(made.lengths, 4, 2, 1.0, seed=1).batch(2) != made.batch(2)


def test_the_costliest_batch_comes_first() -> None:
    made = Plan((5,) * 30 + (90,), 4, 1, 1.0, seed=0)
    assert 30 in made.batch(1)


def test_with_micro_batches_the_longest_sequence_comes_first_wherever_it_stands() -> None:
    lengths = (60,) * 32 + (90,)
    last = next(seed for seed in range(99) if 32 in Plan(lengths, 8, 1, 1.0, seed, 8).batch(5))
    assert 32 in Plan(lengths, 8, 1, 1.0, last, 1).batch(1)


def test_sequences_of_like_length_pass_together_the_longest_first() -> None:
    lengths = [900, 40, 35, 20, 880, 910, 45, 50]
    passes = passes_of_like_length(lengths, range(8), 8)
    assert passes == [[5, 0, 4], [7, 6, 1, 2, 3]]
    assert passes_of_like_length(lengths, range(8), 2) == [[5, 0], [4], [7, 6], [1, 2], [3]]


@pytest.mark.parametrize("limit", [1, 2, 4, 8])
def test_passes_compute_the_fewest_tokens_that_any_cut_of_the_sorted_batch_does(limit: int) -> None:
    rng = Random(limit)
    for _ in range(20):
        lengths = [rng.randint(1, 1500) for _ in range(8)]
        passes = passes_of_like_length(lengths, range(8), limit)
        assert sorted(i for part in passes for i in part) == list(range(8))
        assert max(map(len, passes)) <= limit
        ordered = sorted(lengths, reverse=True)
        cuts = ([0, *chosen, 8] for n in range(8) for chosen in combinations(range(1, 8), n))
        least = min(
            sum(PASS_TOKENS + (b - a) * in_fours(ordered[a]) for a, b in pairwise(cut))
            for cut in cuts
            if max(b - a for a, b in pairwise(cut)) <= limit
        )
        assert sum(PASS_TOKENS + len(p) * in_fours(lengths[p[0]]) for p in passes) == least


def in_fours(length: int) -> int:
    return math.ceil(length / 4) * 4


def test_passes_have_few_shapes_so_that_few_kernels_are_made() -> None:
    rng = Random(0)
    made = Plan(tuple(rng.randint(20, 100) for _ in range(960)), 32, 3, 1.0, seed=0)
    passes = [p for step in range(1, 91) for p in made.passes(made.batch(step))]
    shapes = {(len(p), made.padded_length(p)) for p in passes}
    assert all(rows % 4 == 0 for rows, _ in shapes)
    assert all(length % 4 == 0 or length == max(made.lengths) for _, length in shapes)
    assert len(shapes) < len(passes) / 3


def test_a_pass_is_never_padded_beyond_the_longest_sequence_of_all() -> None:
    made = Plan((5, 11, 13), 3, 1, 1.0, seed=0)
    assert [made.padded_length(p) for p in ([0], [1], [2, 1])] == [8, 12, 13]


@pytest.mark.parametrize("limit", [1, 3, 5, 32])
def test_a_large_batch_is_cut_at_parts_of_it_within_the_limit(limit: int) -> None:
    rng = Random(limit)
    lengths = [rng.randint(1, 900) for _ in range(45)]
    passes = passes_of_like_length(lengths, range(45), limit)
    assert sorted(i for part in passes for i in part) == list(range(45))
    assert max(map(len, passes)) <= limit
    assert all(len(part) % min(limit, 5) == 0 for part in passes)


@pytest.mark.parametrize("micro", [2, 4, 8])
def test_little_is_padded_on_a_mix_of_short_and_long_tasks(micro: int) -> None:
    """Three tasks of other lengths, as LongRefiner's: in the order drawn, 30 to 70 % is padding."""
    rng = Random(0)
    kinds = [(60, 300), (300, 2048), (200, 1500)]
    made = Plan(tuple(rng.randint(*rng.choice(kinds)) for _ in range(800)), 8, 1, 1.0, 0, micro)
    computed = in_order = 0
    for step in range(1, made.total_steps + 1):
        batch = made.batch(step)
        computed += sum(len(p) * made.padded_length(p) for p in made.passes(batch))
        rng.shuffle(batch)
        parts = (batch[i : i + micro] for i in range(0, 8, micro))
        in_order += sum(len(p) * max(made.lengths[i] for i in p) for p in parts)
    assert 1 - sum(made.lengths) / in_order > 0.2
    assert 1 - sum(made.lengths) / computed < 0.06


def test_what_trains_together_does_not_depend_on_lengths() -> None:
    """Grouping whole batches by length would group them by task, too."""
    rng = Random(0)
    short, mixed = (5,) * 40, tuple(rng.randint(1, 999) for _ in range(40))
    steps = range(12, 22)  # the second epoch: in the first the costliest batch is in front
    batches = [[set(Plan(n, 4, 3, 1.0, 0).batch(s)) for s in steps] for n in (short, mixed)]
    assert batches[0] == batches[1]


def test_the_rate_warms_up_and_falls_to_nothing(tmp_path: Path) -> None:
    config = lab.make_config(tmp_path, learning_rate=1.0, warmup_ratio=0.2)
    rates = [learning_rate_at(config, step, 10) for step in range(1, 11)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2] == 1.0
    assert rates[6] == pytest.approx(0.5)  # half way down a cosine
    assert rates[-1] == pytest.approx(0.0380602)  # cosine of 7/8 of the way
    assert rates[2:] == sorted(rates[2:], reverse=True)


@pytest.mark.parametrize(("schedule", "rates"), [("linear", (1, 0.5)), ("constant", (1, 1))])
def test_other_schedules(tmp_path: Path, schedule: str, rates: tuple[float, float]) -> None:
    config = lab.make_config(tmp_path, learning_rate=1.0, warmup_ratio=0, schedule=schedule)
    assert (learning_rate_at(config, 1, 10), learning_rate_at(config, 6, 10)) == rates


def test_no_sequence_left_says_what_to_raise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fits into max_length = 128 tokens; raise it"):
        make_plan(lab.make_config(tmp_path), [])
