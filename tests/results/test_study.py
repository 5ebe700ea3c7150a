from typing import Any

import pytest

from agent.errors import ReportError
from agent.results.columns import SCORE, TEST_SCORE
from agent.results.run_table import Row
from agent.results.study import CellReport, Study, examine
from tests.results.known_table import known_rows, run


def _cells(study: Study) -> dict[str, CellReport]:
    return {cell.label: cell for cell in study.families[0].cells}


def test_best_against_best_of_the_known_table() -> None:
    cells = _cells(examine(known_rows()))
    found = {label: cell.best.value for label, cell in cells.items()}
    assert found == {
        "Full LoRA": pytest.approx(1.0),
        "QLoRA int4": pytest.approx(0.75),
        "QLoRA int8": pytest.approx(0.975),
        "LoRA+PTQ int8": pytest.approx(1.0),
        "LoRA+PTQ int4": pytest.approx(0.5),
    }


def test_a_choice_whose_matched_baseline_was_pruned_says_so() -> None:
    cell = _cells(examine(known_rows()))["LoRA+PTQ int4"]
    assert cell.best.value == pytest.approx(0.5)
    assert cell.matched.value is None
    assert cell.matched.note == "the matched Full LoRA was pruned at rung 1, epoch 1"
    assert cell.matched.rung_value == pytest.approx(0.1 / 0.04)


def test_gains_of_the_known_table() -> None:
    cell = _cells(examine(known_rows()))["QLoRA int4"]
    ratios = {gain.column.key: gain.ratio for gain in cell.gains}
    assert ratios["inference/model_size_gb"] == 4.0
    assert ratios["inference/avg_latency_ms_per_sample"] == pytest.approx(10 / 12)
    assert ratios["train/peak_vram_gb"] is None


def test_without_a_complete_full_lora_nothing_is_a_retention() -> None:
    rows = [row for row in known_rows() if row.text("model_variant") != "Full LoRA"]
    cell = _cells(examine(rows))["QLoRA int4"]
    assert (cell.best.value, cell.best.note) == (None, "no complete Full LoRA run")
    assert cell.score == 0.6


def test_the_headline_is_the_test_score_once_every_choice_has_one() -> None:
    rows = [run("full", 1e-3, 0.8, test__f1_score=0.7), run("qlora4", 1e-3, 0.6)]
    assert examine(rows).families[0].metric == SCORE
    rows[1] = run("qlora4", 1e-3, 0.6, test__f1_score=0.35)
    family = examine(rows).families[0]
    assert family.metric == TEST_SCORE
    assert family.cells[1].best.value == pytest.approx(0.5)


def test_choices_tested_at_an_earlier_point_are_reported_there() -> None:
    curve = ((1.0, 0.9), (3.0, 0.5))
    early: dict[str, Any] = {"curve": curve, "test__epoch": 1.0}
    rows = [
        run("full", 1e-3, 0.5, test__f1_score=0.8, **early),
        run("qlora4", 1e-3, 0.5, test__f1_score=0.6, **early),
    ]
    family = examine(rows).families[0]
    assert family.metric == TEST_SCORE
    chosen = family.cells[1].selection.chosen
    assert chosen is not None
    assert chosen.epoch == 1.0
    assert family.cells[1].best.value == pytest.approx(0.75)


def test_the_learning_rate_is_chosen_on_validation_even_with_test_scores() -> None:
    rows = [
        run("full", 1e-3, 0.8, test__f1_score=0.1),
        run("full", 1e-4, 0.7, test__f1_score=0.9),
    ]
    chosen = examine(rows).families[0].cells[0].selection.chosen
    assert chosen is not None
    assert chosen.tuned == (("learning_rate", 1e-3),)


def test_the_reason_for_flops_that_are_left_out_is_a_note() -> None:
    rows = [run("full", rate, 0.5, train__flops_left_out="experts") for rate in (1e-3, 1e-4)]
    assert "FLOPs of 2 runs are left out: experts." in examine(rows).notes


def test_the_untouched_base_stands_beside_the_variants() -> None:
    base = Row("base", "baseline", {SCORE: 0.2})
    family = examine([*known_rows(), base]).families[0]
    (found,) = family.bases
    assert found.row is base
    assert found.label == "Untouched base"
    assert found.retention.value == pytest.approx(0.25)


def test_the_untouched_base_stands_in_every_form_it_was_scored_in() -> None:
    forms = [
        Row("base", "baseline", {SCORE: 0.2, "quantization_strategy": "None"}),
        Row("base", "baseline", {SCORE: 0.1, "quantization_strategy": "int4"}),
    ]
    study = examine([*known_rows(), *forms])
    found = {base.label: base.retention.value for base in study.families[0].bases}
    assert found == {
        "Untouched base": pytest.approx(0.25),
        "Untouched base int4": pytest.approx(0.125),
    }
    assert not any("untouched base" in note for note in study.notes)


def test_a_missing_base_is_stated() -> None:
    assert any("--baseline adds it" in note for note in examine(known_rows()).notes)
    base = Row("base", "baseline", {SCORE: 0.2, "dataset": "train.json"})
    other = run("full", 1e-3, 0.5, dataset="other.json")
    notes = " ".join(examine([*known_rows(), other, base]).notes)
    assert (
        "No untouched base of the same base, data and evaluation for: dataset = other.json" in notes
    )


def test_projects_of_other_data_are_not_examined_together() -> None:
    rows = [*known_rows(), Row("x", "finished", {SCORE: 0.5}, project="other")]
    with pytest.raises(ReportError, match="projects cannot be joined"):
        examine(rows)


def test_notes_name_what_a_reader_must_know() -> None:
    rows = [
        *known_rows(),
        run("full", 1e-3, None, state="failed", run_id="f"),
        run("full", 1e-3, 0.9, run_id="a", hardware__gpu="A100", max_length=512),
        Row("n", "finished", {}, project="demo"),
    ]
    text = " ".join(examine(rows).notes)
    for part in ("on the validation data", "2 groups", "A100, H100", "1 runs name no", "failed"):
        assert part in text
