import io

import pytest

from agent.report import paper
from agent.report.plots import figures_of
from agent.results.run_table import Row
from agent.results.study import examine
from tests.results.known_table import known_rows

BASE = Row("base", "baseline", {"final/validation_f1_score": 0.2, "inference/model_size_gb": 2.0})
FIGURES = {f.name: f for f in figures_of(examine([*known_rows(), BASE]))}


@pytest.mark.parametrize("name", ["convergence", "learning_rates", "retention", "pareto"])
def test_every_figure_is_drawn_at_column_width(name: str) -> None:
    from PIL import Image

    data = paper.render(FIGURES[name], ("png",))["png"]
    with Image.open(io.BytesIO(data)) as image:
        assert image.width == int(paper.COLUMN_WIDTH_IN * paper.PNG_DPI)


def test_a_pdf_keeps_its_text_and_is_the_same_every_time() -> None:
    first, second = (paper.render(FIGURES["retention"], ("pdf",))["pdf"] for _ in range(2))
    assert first == second
    assert first.startswith(b"%PDF")
    assert b"/Type3" not in first.replace(b" ", b"")


@pytest.mark.parametrize(("value", "text"), [(1e-4, "1e-4"), (0.02, "0.02"), (2.5e-3, "2.5e-3")])
def test_rates_are_written_shortly(value: float, text: str) -> None:
    assert paper._short(value) == text
