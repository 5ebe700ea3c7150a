"""The tables of a paper: laid out, and compiled where a LaTeX engine is at hand."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from agent.report import latex, tables
from agent.report.tables import Cell, Heading, TextTable
from agent.results.run_table import Row
from agent.results.study import examine
from tests.report.made_up_study import study_rows
from tests.results.known_table import known_rows

ENGINES = [name for name in ("pdflatex", "lualatex", "tectonic") if shutil.which(name)]


def has_packages() -> bool:
    """Whether the engine has what the tables need; tectonic, the last choice, fetches it."""
    if not ENGINES:
        return False
    if ENGINES[0] == "tectonic":
        return True
    asked = ["kpsewhich", "siunitx.sty", "booktabs.sty"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return len(done.stdout.split()) == 2


DOCUMENT = r"""\documentclass{article}
\usepackage{array,booktabs,siunitx}
\begin{document}
%s
\end{document}
"""


def _tables(rows: list[Row]) -> list[TextTable]:
    return [table for family in tables.family_tables(examine(rows)) for table in family]


def wide_rows() -> list[Row]:
    """Long names, another method, two tuned keys, two families: what makes a table wide."""
    rows = [
        replace(row, values={**row.values, "tuned": "learning_rate, lora_rank", "lora_rank": 64})
        for row in study_rows(seeds=2, examples=40)
    ]
    named = [
        replace(row, values={**row.values, "quantization_method": "a_very_long_method_name"})
        for row in study_rows(seeds=1, examples=20)[:20]
    ]
    return [*rows, *named, *(replace(r, values={**r.values, "epochs": 9}) for r in rows[:40])]


KINDS = {
    "three seeds": study_rows,
    "one seed": lambda: study_rows(seeds=1),
    "two types of GPU": lambda: study_rows(gpus=("H100", "A100")),
    "no examples": lambda: list(known_rows()),
    "wide": wide_rows,
}


@pytest.mark.skipif(
    not has_packages(),
    reason="no LaTeX with siunitx (Debian: texlive-latex-recommended, texlive-science)",
)
@pytest.mark.parametrize("kind", KINDS)
def test_every_table_compiles_within_an_articles_column(kind: str, tmp_path: Path) -> None:
    found = _tables(KINDS[kind]())
    text = DOCUMENT % "\n\\clearpage\n".join(latex.latex(table) for table in found)
    (tmp_path / "tables.tex").write_text(text)
    options = [] if ENGINES[0] == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run(
        [ENGINES[0], *options, "tables.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-1500:]
    assert (tmp_path / "tables.pdf").stat().st_size > 10_000
    assert re.findall(r"Overfull \\hbox.*", said) == []


def test_no_panel_is_estimated_wider_than_an_articles_column() -> None:
    for kind, rows in KINDS.items():
        for table in _tables(rows()):
            shown = list(range(len(table.headings)))
            for panel in latex._panels(table, shown):
                width = sum(column.width for column in panel) + latex.GAP_PT * (len(panel) - 1)
                assert width <= latex.TEXT_PT, (kind, table.name)


def test_the_main_table_is_one_panel_without_details() -> None:
    table = _tables(study_rows())[0]
    text = latex.latex(table)
    assert text.count(r"\toprule") == 1
    assert "Pruned" not in text
    assert "S[table-format=1.4]" in text


def test_captions_say_what_brackets_n_and_seeds_are() -> None:
    by_name = {table.name: table.caption for table in _tables(study_rows())}
    assert (
        "Brackets: 95 % intervals over seeds and examples; n = 240 examples"
        in (by_name["retention"])
    )
    assert "mean over 3 seeds ± the sample standard deviation" in by_name["retention"]
    assert "Times and memory on H100" in by_name["costs"]
    one = {table.name: table.caption for table in _tables(study_rows(seeds=1))}
    assert "One seed: the noise of training is not included." in one["retention"]
    none = {table.name: table.caption for table in _tables(list(known_rows()))}
    assert "Without per-example scores there are no intervals." in none["retention"]


def test_a_value_stands_above_its_interval() -> None:
    headings = (Heading("Variant", is_number=False), Heading("Best"))
    rows = ((Cell("a"), Cell("94.7 [89.5, 99.8]‡")), (Cell("b"), Cell("2e-05")))
    text = latex.latex(TextTable("t", "T", headings, rows))
    assert r"94.7$\ddagger$ \\ {\scriptsize {}[89.5, 99.8]}" in text
    assert r"\num{2e-05}" in text
