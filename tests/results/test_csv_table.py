"""The CSV that the report writes, and the one that a stranger writes by hand."""

import json

import pytest

from agent.errors import ReportError
from agent.results import csv_table as table
from agent.results.run_table import base_rows
from agent.results.study import examine
from tests.results.known_table import known_rows

CSV = """run_id,state,learning_rate,model_variant,final/validation_f1_score,train/peak_vram_gb
a,finished,0.0001,QLoRA,0.5,
b,pruned,1e-3,Full LoRA,,
"""


def test_a_blank_cell_is_missing_not_zero() -> None:
    first, second = table.read_csv(CSV)
    assert first.number("final/validation_f1_score") == 0.5
    assert first.number("train/peak_vram_gb") is None
    assert "train/peak_vram_gb" not in first.values
    assert (second.is_pruned, second.is_complete) == (True, False)


def test_lists_and_objects_of_a_csv_become_what_a_config_reads() -> None:
    assert table.parse_scalar("['learning_rate', 'lora_rank']") == "learning_rate,lora_rank"
    assert table.parse_scalar("{'a': 1}") == '{"a": 1}'
    assert table.parse_scalar("[odd") == "[odd"
    assert (
        table.parse_scalar("1e-4"),
        table.parse_scalar("3"),
        table.parse_scalar("None"),
    ) == (
        1e-4,
        3,
        "None",
    )


def test_the_written_table_reads_back_the_same() -> None:
    rows = known_rows()
    text = table.write_csv(rows)
    back = table.with_curves(table.read_csv(text), table.write_curves(rows))
    assert [r.values for r in back] == [r.values for r in rows]
    assert [r.curves for r in back] == [r.curves for r in rows]


def test_a_table_without_state_and_run_id_says_both() -> None:
    with pytest.raises(
        ReportError, match="no column run_id and no column state, and none model_variant"
    ):
        table.read_csv("learning_rate\n1\n")


def test_all_faults_of_a_table_are_reported_together() -> None:
    text = "run_id,state,final/avg_f1\na,finished,high\na,finished,0.1\n,finished,0.1\n"
    with pytest.raises(ReportError) as caught:
        table.read_csv(text, where="t.csv")
    for part in ("t.csv", "final/avg_f1 = 'high'", "'a' stands twice", "line 4 has no run_id"):
        assert part in str(caught.value)


def test_a_table_with_every_form_of_the_base_reads_back() -> None:
    forms = [{"validation/f1_score": 0.1, "quantization_strategy": s} for s in ("None", "int4")]
    rows = (*known_rows(), *base_rows(json.dumps(forms)))
    back = examine(table.read_csv(table.write_csv(rows)))
    assert [base.label for base in back.families[0].bases] == [
        "Untouched base",
        "Untouched base int4",
    ]


# ---------------------------------------------------------------------- by a stranger
STRANGE = """model_variant,quantization_strategy,learning_rate,final/validation_f1_score,who
Full LoRA,,1e-4,{0},me
Full LoRA,,1e-3,{1},me
QLoRA,int4,1e-4,{2},you
QLoRA,int4,1e-3,,you
,,,,
"""


@pytest.mark.parametrize(
    "scores", [("0.5", "0.8", "0.6"), ("50", "80.0", "60"), ("50%", "80 %", "60.0%")]
)
def test_a_table_of_variants_and_scores_is_enough(scores: tuple[str, ...]) -> None:
    rows = table.read_csv(STRANGE.format(*scores))
    assert [row.run_id for row in rows] == ["line 2", "line 3", "line 4", "line 5"]
    assert [row.state for row in rows] == ["finished", "finished", "finished", "unknown"]
    full, qlora = examine(rows).families[0].cells
    assert [full.score, qlora.score] == pytest.approx([0.8, 0.6])
    assert qlora.best.value == pytest.approx(0.75)
    assert qlora.matched.value == pytest.approx(1.2)


def test_semicolons_and_spaces_in_the_head_are_read() -> None:
    text = "model_variant; learning_rate ;final/validation_f1_score\nFull LoRA;1e-4;0.5\n"
    (row,) = table.read_csv(text)
    assert (row.number("learning_rate"), row.number("final/validation_f1_score")) == (1e-4, 0.5)


def test_the_score_at_each_point_stands_for_the_final_one() -> None:
    (row,) = table.read_csv("model_variant,validation/f1_score\nFull LoRA,60\n")
    assert row.number("final/validation_f1_score") == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_variant,f1\nQLoRA,0.5\n", "no column final/validation_f1_score.*there are: .*f1"),
        ("model_variant,model_variant\nQLoRA,QLoRA\n", "the column 'model_variant' twice"),
        (STRANGE.format("0.5", "80", "60"), r"mixes shares of 1 and percent \(0.5 and 80\)"),
        (STRANGE.format("0.5", "180", "1"), "= 180 is not a score: a share of 1, or percent"),
        (STRANGE.format("-0.5", "0.2", "1"), "= -0.5 is not a score"),
        (STRANGE.format("0,5", "0.2", "1"), "line 2 has more cells than there are columns"),
        (STRANGE.format("many", "0.2", "1"), "line 2: .*_f1_score = 'many' is not a number"),
        ("", "no column run_id and no column state, and none model_variant"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(ReportError, match=message) as caught:
        table.read_csv(text, where="mine.csv")
    assert str(caught.value).startswith("mine.csv")
    assert "\n" not in str(caught.value)


def test_a_hand_made_table_may_write_values_as_a_config_reads_them() -> None:
    text = (
        "model_variant,quantization_strategy,quantization_method,learning_rate,seed,"
        "final/validation_f1_score\n"
        "Full LoRA,none,none,1e-4,0,0.5\nFull LoRA,,,0.0001,1.0,0.6\nQLoRA,int4,None,1e-4,0,0.4\n"
    )
    (family,) = examine(table.read_csv(text)).families
    assert [cell.label for cell in family.cells] == ["Full LoRA", "QLoRA int4"]
    assert family.cells[0].score == pytest.approx(0.55)
