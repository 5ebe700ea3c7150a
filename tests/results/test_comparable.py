from dataclasses import replace
from typing import Any

import pytest

from agent.errors import ReportError
from agent.results import comparable
from agent.results.run_table import Row
from tests.results.known_table import known_rows, run


def test_five_cells_of_one_family_in_the_order_of_the_variants() -> None:
    (family,) = comparable.families_of(known_rows())
    labels = [comparable.cell_label(cell) for cell in family.cells]
    assert labels == ["Full LoRA", "QLoRA int4", "QLoRA int8", "LoRA+PTQ int8", "LoRA+PTQ int4"]
    assert len(family.baseline_rows) == 4


@pytest.mark.parametrize("change", [{"max_length": 512}, {"lora_rank": 8}, {"epochs": 5}])
def test_another_length_rank_or_budget_is_another_family(change: dict[str, Any]) -> None:
    rows = (run("full", 1e-3, 0.5), run("qlora4", 1e-3, 0.4, **change))
    found = comparable.families_of(rows)
    assert len(found) == 2
    assert f"{next(iter(change))} = " in found[0].label


def test_seed_learning_rate_and_pruner_do_not_make_a_family() -> None:
    rows = (run("full", 1e-3, 0.5), run("full", 1e-4, 0.4, seed=1, pruner="none"))
    assert len(comparable.families_of(rows)) == 1


def test_how_a_step_is_computed_does_not_make_a_family() -> None:
    rows = (run("full", 1e-3, 0.5), run("qlora4", 1e-3, 0.4, micro_batch_size=1))
    assert len(comparable.families_of(rows)) == 1


def test_a_digest_counts_where_a_moved_file_does_not() -> None:
    digest: dict[str, Any] = {"data__digest": "d1"}
    moved = run("qlora4", 1e-3, 0.4, dataset="elsewhere/train.json", **digest)
    rows = (run("full", 1e-3, 0.5, **digest), moved)
    assert len(comparable.families_of(rows)) == 1
    rows = (run("full", 1e-3, 0.5, **digest), run("qlora4", 1e-3, 0.4, data__digest="d2"))
    assert len(comparable.families_of(rows)) == 2


def test_another_tuned_key_is_not_part_of_the_family() -> None:
    rows = [run("full", 1e-3, 0.5, lora_rank=r, tuned="learning_rate,lora_rank") for r in (8, 16)]
    assert len(comparable.families_of(rows)) == 1
    assert comparable.tuned_keys(rows[0]) == ("learning_rate", "lora_rank")
    listed = run("full", 1e-3, 0.5, tuned="['learning_rate', 'lora_rank']")
    assert comparable.tuned_keys(listed) == ("learning_rate", "lora_rank")


def test_runs_without_a_variant_and_inference_runs_belong_to_no_family() -> None:
    rows = (Row("x", "finished", {}), run("full", 1e-3, 0.5, job_type="inference"))
    assert comparable.families_of(rows) == ()


def _project(name: str, **digests: str | None) -> Row:
    stated: dict[str, Any] = {
        "base__digest": "b",
        "data__digest": "d",
        "evaluation__digest": "e",
        **digests,
    }
    return replace(run("full", 1e-3, 0.5, **stated), project=name)


def test_projects_with_equal_digests_are_joined() -> None:
    comparable.require_joinable((_project("one"), _project("two")))
    assert comparable.join_problems((_project("one"), _project("two"))) == ()


def test_projects_with_other_digests_are_refused_with_the_differing_fields() -> None:
    rows = (_project("one"), _project("two", data__digest="x", evaluation__digest=None))
    with pytest.raises(ReportError) as caught:
        comparable.require_joinable(rows)
    assert "data/digest (one: d; two: x)" in str(caught.value)
    assert "evaluation/digest (one: e; two: not stated)" in str(caught.value)
    assert "base/digest" not in str(caught.value)


def test_one_project_needs_no_digests() -> None:
    assert comparable.join_problems(known_rows()) == ()


def test_the_untouched_base_goes_to_the_family_it_was_scored_for() -> None:
    rows = (run("full", 1e-3, 0.5, data__digest="d1"), run("full", 1e-3, 0.5, data__digest="d2"))
    first, second = comparable.families_of(rows)
    base = Row("base", "baseline", {"data/digest": "d2"})
    assert comparable.bases_for(first, [base]) == ()
    assert comparable.bases_for(second, [base]) == (base,)
