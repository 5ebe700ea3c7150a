import pytest

from agent.errors import ReportError
from agent.report.columns import SCORE, TEST_SCORE
from agent.report.study import CellReport, Study, examine
from agent.report.table import Row

from .known_table import known_rows, run


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


def test_the_learning_rate_is_chosen_on_validation_even_with_test_scores() -> None:
    rows = [
        run("full", 1e-3, 0.8, test__f1_score=0.1),
        run("full", 1e-4, 0.7, test__f1_score=0.9),
    ]
    chosen = examine(rows).families[0].cells[0].selection.chosen
    assert chosen is not None
    assert chosen.tuned == (("learning_rate", 1e-3),)


def test_the_untouched_base_stands_beside_the_variants() -> None:
    base = Row("base", "baseline", {SCORE: 0.2})
    family = examine([*known_rows(), base]).families[0]
    assert family.base is base
    assert family.base_retention.value == pytest.approx(0.25)


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
