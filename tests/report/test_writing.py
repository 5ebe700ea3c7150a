import re
from pathlib import Path

import pytest

from agent.errors import ReportError
from agent.report import writing
from agent.report.plots import figures_of
from agent.results.csv_table import read_csv, with_curves
from agent.results.study import examine
from tests.results.known_table import known_rows, run


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    rows = known_rows()
    paths = writing.write_report(examine(rows), rows, folder / "out")
    assert paths[0].name == writing.PAGE
    assert all(path.stat().st_size for path in paths)
    return folder / "out"


def test_every_figure_has_pdf_png_and_its_data(written: Path) -> None:
    names = sorted(path.name for path in (written / "figures").iterdir())
    stems = ("convergence", "learning_rates", "pareto", "retention")
    kinds = (".csv", ".pdf", ".png", "-wide.pdf", "-wide.png")
    made = [f"{stem}{kind}" for stem in stems for kind in kinds]
    assert names == sorted([*made, "relative_costs.csv"])


def test_every_table_has_latex_and_csv(written: Path) -> None:
    names = {path.name for path in (written / "tables").iterdir()}
    stems = ("retention", "costs", "gains", "selection")
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("tex", "csv")}


def test_the_written_data_makes_the_same_report_again(written: Path) -> None:
    rows = read_csv((written / "table.csv").read_text())
    rows = with_curves(rows, (written / "curves.csv").read_text())
    rows = writing.with_scores(rows, (written / "scores.csv").read_text())
    study = examine(rows)
    text = writing.markdown_report(study, figures_of(study))
    assert text == (written / "report.md").read_text()


def test_the_markdown_embeds_every_figure(written: Path) -> None:
    text = (written / "report.md").read_text()
    embedded = re.findall(r"!\[[^\]]+\]\((\S+)\)", text)
    assert len(embedded) == 4
    assert embedded[0] == "figures/retention-wide.png"
    assert all((written / name).stat().st_size for name in embedded)
    assert text.index(embedded[0]) < text.index("### Performance retention")


def test_scores_read_back_with_their_prompts() -> None:
    row = run("full", 1e-3, 0.5, scores={"a": 1.0, "b": 0.0})
    text = writing.write_scores([row]).replace("a,1.0,", "a,1.0,hash")
    (back,) = writing.with_scores([run("full", 1e-3, 0.5)], text)
    assert back.scores == row.scores
    assert back.prompts == {"validation": {"a": "hash"}}


def test_bad_score_files_are_refused() -> None:
    with pytest.raises(ReportError, match="no column example_id and no column score"):
        writing.with_scores([], "run_id,split\n")
    with pytest.raises(ReportError, match="line 2: score 'x' is not a number"):
        writing.with_scores([], "run_id,split,example_id,score\nr,validation,1,x\n")


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot be written"):
        writing._write(tmp_path / "file" / "report.html", "text")
