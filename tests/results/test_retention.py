from dataclasses import replace
from typing import Any

import pytest

from agent.results.comparable import families_of
from agent.results.retention import matched_choice, matched_runs, retention
from agent.results.run_table import Row
from tests.results.known_table import known_rows, pruned, run


def _matched(*rows: Row) -> dict[str, object]:
    (family,) = families_of(rows)
    (found,) = matched_runs(family)
    return {"value": found.retention.value, "note": found.retention.note, "all": found.retention}


def test_matched_retention_of_the_known_table() -> None:
    (family,) = families_of(known_rows())
    found = {m.row.run_id: m.retention.value for m in matched_runs(family)}
    assert found["qlora4-0.005-0"] == pytest.approx(0.6 / 0.8)
    assert found["qlora4-0.0001-0"] == pytest.approx(0.5)
    assert found["qlora8-0.001-0"] == pytest.approx(1.05)
    assert found["ptq4-0.001-0"] == pytest.approx(0.5)
    assert found["ptq4-0.02-0"] is None  # the matched Full LoRA run was pruned
    assert len(found) == 16


def test_a_pruned_baseline_is_stated_with_its_rung_and_compared_only_there() -> None:
    curve = ((1.0, 0.1), (2.0, 0.3), (3.0, 0.4))
    (family,) = families_of(
        [pruned("full", 1e-3, ((1.0, 0.2),)), run("qlora4", 1e-3, 0.4, curve=curve)]
    )
    (found,) = matched_runs(family)
    assert found.retention.value is None
    assert found.retention.note == "the matched Full LoRA was pruned at rung 1, epoch 1"
    assert [found.retention.rung_value, found.retention.rung_epoch] == pytest.approx([0.5, 1.0])


def test_a_pruned_run_is_compared_at_its_own_rung_only() -> None:
    curve = ((1.0, 0.2), (3.0, 0.8))
    (family,) = families_of(
        [run("full", 1e-3, 0.8, curve=curve), pruned("qlora4", 1e-3, ((1.0, 0.1),))]
    )
    (found,) = matched_runs(family)
    assert found.retention.value is None
    assert [found.retention.rung_value, found.retention.rung_epoch] == pytest.approx([0.5, 1.0])


def test_of_two_baselines_at_one_point_the_complete_one_is_taken() -> None:
    rows = [
        pruned("full", 1e-3, ((1.0, 0.2),), run_id="a"),
        run("full", 1e-3, 0.8, run_id="b"),
        run("full", 1e-3, None, state="failed", run_id="c"),
        run("qlora4", 1e-3, 0.4),
    ]
    assert _matched(*rows)["value"] == pytest.approx(0.5)


def test_two_pruned_sides_are_compared_at_the_last_rung_both_reached() -> None:
    rows = [
        pruned("full", 1e-3, ((1.0, 0.2), (2.0, 0.8), (3.0, 0.9)), rung=3),
        pruned("qlora4", 1e-3, ((1.0, 0.2), (2.0, 0.4)), rung=2),
    ]
    (family,) = families_of(rows)
    (found,) = matched_runs(family)
    assert [found.retention.rung_value, found.retention.rung_epoch] == pytest.approx([0.5, 2.0])


def test_another_seed_or_rate_is_no_match() -> None:
    found = _matched(run("full", 1e-3, 0.8, seed=1), run("qlora4", 1e-3, 0.4))
    assert found["note"] == "no Full LoRA run at learning_rate = 0.001, seed 0"


def test_other_lengths_and_data_are_never_compared() -> None:
    rows = [run("full", 1e-3, 0.8), run("qlora4", 1e-3, 0.4, dataset="other.json")]
    families = families_of(rows)
    assert len(families) == 2
    (found,) = [m for family in families for m in matched_runs(family)]
    assert found.retention.value is None


def test_runs_that_end_at_other_epochs_are_not_compared() -> None:
    found = _matched(run("full", 1e-3, 0.8), run("qlora4", 1e-3, 0.4, epoch=2.0))
    assert found["note"] == "the two sides end at different epochs (2, 3)"


def test_a_baseline_of_zero_keeps_nothing_to_retain() -> None:
    found = _matched(run("full", 1e-3, 0.0), run("qlora4", 1e-3, 0.4))
    assert found["note"] == "Full LoRA scored 0, so nothing can be kept"


def test_a_failed_baseline_is_not_finished() -> None:
    found = _matched(run("full", 1e-3, 0.3, state="failed"), run("qlora4", 1e-3, 0.4))
    assert found["note"] == "the matched Full LoRA is failed, not finished"


def _scored(cell: str, score: float, seed: int, count: int = 500, **more: Any) -> Row:
    return run(
        cell, 1e-3, score, seed=seed, scores=dict.fromkeys(map(str, range(count)), score), **more
    )


def test_the_interval_comes_from_examples_and_seeds() -> None:
    found = retention([_scored("qlora4", 0.5, 0)], [_scored("full", 1.0, 0)])
    assert found.value == 0.5
    assert found.interval is not None
    assert (found.interval.examples, found.interval.seeds, found.interval.clusters) == (500, 1, 500)
    assert found.interval.low < 0.5 < found.interval.high
    assert found.is_one_seed
    assert not found.is_resolved  # whatever the examples say
    treated = [_scored("qlora4", 0.5 + s / 100, s) for s in range(3)]
    found = retention(treated, [_scored("full", 0.9 + s / 100, s) for s in range(3)])
    assert found.seeds == 3
    assert found.is_resolved


def test_one_seed_of_a_variant_against_another_is_not_called_different() -> None:
    found = retention([_scored("full", 0.606, 1)], [_scored("full", 0.663, 0)])
    assert found.value == pytest.approx(0.914, abs=1e-3)
    assert not found.is_resolved


def test_sides_served_from_the_same_trainings_are_paired_by_seed() -> None:
    def side(cell: str, loss: float, keys: str) -> list[Row]:
        scores = [0.5, 0.7, 0.9]
        return [
            _scored(cell, f - loss, s, training__key=f"{keys}{s}") for s, f in enumerate(scores)
        ]

    same = retention(side("ptq8", 0.02, "t"), side("full", 0.0, "t")).interval
    other = retention(side("ptq8", 0.02, "u"), side("full", 0.0, "t")).interval
    assert same is not None
    assert other is not None
    assert same.high - same.low < 0.2 * (other.high - other.low)


def test_documents_of_several_questions_count_as_one() -> None:
    rows = [_scored(cell, 0.5, 0, 50) for cell in ("qlora4", "full")]
    sources = {"validation": {str(i): f"document {i // 10}" for i in range(50)}}
    known = [replace(row, sources=sources) for row in rows]
    found = retention(known[:1], known[1:]).interval
    assert found is not None
    assert (found.examples, found.clusters) == (50, 5)


def test_partly_shared_examples_give_no_interval_and_say_so() -> None:
    sides = [{str(i): 1.0 for i in range(start, start + 10)} for start in (0, 5)]
    found = retention(
        [run("qlora4", 1e-3, 1.0, scores=sides[0])], [run("full", 1e-3, 1.0, scores=sides[1])]
    )
    assert found.interval is None
    assert found.note == "no interval: only 5 of 10 examples are shared"


def test_scores_of_another_evaluation_point_give_no_interval() -> None:
    scores = {"1": 1.0, "2": 0.0}
    treated = [run("qlora4", 1e-3, 0.7, scores=scores, run_id="odd")]
    found = retention(treated, [run("full", 1e-3, 0.5, scores=scores)])
    assert found.value == pytest.approx(1.4)
    assert found.interval is None
    assert "the example scores of run odd do not average to" in found.note


def test_other_prompts_give_no_interval() -> None:
    scores = {"1": 1.0, "2": 0.5}
    rows = [
        Row(r.run_id, r.state, r.values, scores=r.scores, prompts={"validation": {"1": mark}})
        for r, mark in (
            (run("qlora4", 1e-3, 0.7, scores=scores), "a"),
            (run("full", 1e-3, 0.7, scores=scores), "b"),
        )
    ]
    found = retention(rows[:1], rows[1:])
    assert found.note == "no interval: 1 examples had other prompts"


def test_retention_over_seeds_is_a_ratio_of_means() -> None:
    treated = [run("qlora4", 1e-3, f, seed=s) for s, f in enumerate((0.2, 0.4))]
    baseline = [run("full", 1e-3, f, seed=s) for s, f in enumerate((0.4, 0.8))]
    assert retention(treated, baseline).value == pytest.approx(0.5)


def test_a_choice_whose_baseline_lacks_a_seed_names_that_seed() -> None:
    treated = [run("qlora4", 1e-3, f, seed=s) for s, f in enumerate((0.2, 0.4))]
    (family,) = families_of([*treated, run("full", 1e-3, 0.4)])
    found = matched_choice(treated, family)
    assert found.value == pytest.approx(0.5)
    assert found.note == "without seed 1, whose Full LoRA run is missing or stopped early"
