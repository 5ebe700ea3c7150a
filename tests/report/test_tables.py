from dataclasses import replace

from agent.report import latex, layouts, tables
from agent.report.tables import Cell, Heading, TextTable
from agent.results.run_table import Row
from agent.results.study import examine
from tests.results.known_table import known_rows, run

BASE = Row("base", "baseline", {"final/validation_f1_score": 0.2}, project="demo")


def _named(table: TextTable) -> dict[str, dict[str, str]]:
    titles = [heading.title for heading in table.headings]
    return {
        row[0].text: dict(zip(titles, (c.text for c in row), strict=True)) for row in table.rows
    }


def _tables() -> dict[str, TextTable]:
    (found,) = tables.family_tables(examine([*known_rows(), BASE]))
    return {table.name: table for table in found}


def test_the_retention_table_of_the_known_table() -> None:
    found = _named(_tables()["retention"])
    assert found["QLoRA int4"]["Best vs best (%)"] == f"75.0{tables.ONE_SEED_MARK}"
    assert found["Full LoRA"]["Best vs best (%)"] == "100"
    assert found["LoRA+PTQ int4"]["Matched (%)"] == tables.MARK
    assert found["Full LoRA"]["Pruned"] == "1"
    assert found["Untouched base"]["Best vs best (%)"] == "25.0"
    assert found["Untouched base"]["Learning rate"] == ""


def test_a_blank_retention_has_its_reason_below_the_table() -> None:
    assert _tables()["retention"].notes == (
        "LoRA+PTQ int4, matched: the matched Full LoRA was pruned at rung 1, epoch 1; "
        "250 % at epoch 1, where both were.",
        "‡ one seed: training noise not included; nothing about it is significant.",
    )


def test_intervals_stand_in_brackets() -> None:
    scores = {str(i): (1.0 if i % 2 else 0.5) for i in range(40)}
    rows = [
        run("full", 1e-3, 0.75, scores=scores),
        run("qlora4", 1e-3, 0.375, scores={k: v / 2 for k, v in scores.items()}),
    ]
    ((table, *_),) = tables.family_tables(examine(rows))
    found = _named(table)["QLoRA int4"]
    assert found["Matched (%)"] == "50.0 [36.7, 63.3]‡"
    assert (found["n"], found["Seeds"]) == ("40", "1")


def test_several_seeds_have_no_mark_and_sources_are_counted() -> None:
    scores = {str(i): (1.0 if i % 2 else 0.5) for i in range(40)}
    sources = {"validation": {str(i): str(i // 4) for i in range(40)}}
    rows = [
        replace(run(cell, 1e-3, 0.75, scores=scores, seed=seed), sources=sources)
        for cell in ("full", "qlora4")
        for seed in range(3)
    ]
    ((table, *_),) = tables.family_tables(examine(rows))
    found = _named(table)["QLoRA int4"]
    assert found["Matched (%)"].startswith("100.0 [")
    assert found["Matched (%)"].endswith("]")
    assert (found["n"], found["Seeds"]) == ("40 in 10", "3")
    assert table.notes == ()


def test_missing_costs_stay_blank() -> None:
    found = _named(_tables()["costs"])
    assert found["Untouched base"]["Model size (GB)"] == ""
    assert found["QLoRA int4"]["Model size (GB)"] == "0.5"
    assert "Training VRAM (GB)" not in found["Full LoRA"]


def test_gains_are_ratios_to_full_lora() -> None:
    found = _named(_tables()["gains"])
    assert found["QLoRA int4"]["Smaller model (×)"] == "4.00"
    assert found["QLoRA int8"]["Lower latency (×)"] == "0.50"


def test_the_selection_table_names_edges() -> None:
    found = _named(_tables()["selection"])
    assert "the highest of 4 values" in found["LoRA+PTQ int4"]["At the edge"]
    assert found["QLoRA int4"]["Best setting"] == "learning_rate = 0.005"


def test_every_run_is_listed_and_pruned_ones_are_marked() -> None:
    table = tables.runs_table(examine(known_rows()))
    assert len(table.rows) == 20
    states = [row[2].text for row in table.rows]
    assert states.count("pruned at rung 1, epoch 1") == 2


TRICKY = TextTable(
    "tricky",
    "50% of a_b & c",
    (Heading("Name", is_number=False), Heading("Value (%)")),
    ((Cell("[a|b]_{x}"), Cell("1 ± 2", 1.0)), (Cell("~^\\"), Cell(tables.MARK))),
    ("a note with 100 %",),
)


def test_markdown_is_escaped() -> None:
    text = layouts.markdown(TRICKY)
    assert "| \\[a\\|b\\]\\_{x} | 1 ± 2 |" in text
    assert "| --- | ---: |" in text
    assert "- a note with 100 %" in text


def test_latex_is_escaped_and_a_leading_bracket_is_no_length() -> None:
    text = latex.latex(TRICKY)
    assert r"\caption{50\% of a\_\allowbreak{}b \& c}" in text
    assert r"{}[a|b]\_\allowbreak{}\{x\} &" in text
    assert r"\textasciitilde{}\textasciicircum{}\textbackslash{} & $\dagger$ \\" in text
    assert r"\begin{tabular}{@{}lr@{}}" in text
    assert r"100 \%" in text


def test_csv_has_full_values_and_no_marks() -> None:
    assert layouts.to_csv(TRICKY) == "Name,Value (%)\n[a|b]_{x},1.0\n~^\\,\n"
