import io

import pytest

from agent.report import paper
from agent.report.plots import figures_of
from agent.results.run_table import Row
from agent.results.study import examine
from tests.results.known_table import known_rows

BASE = Row("base", "baseline", {"final/validation_f1_score": 0.2, "inference/model_size_gb": 2.0})
FIGURES = {f.name: f for f in figures_of(examine([*known_rows(), BASE]))}


@pytest.mark.parametrize("width", [paper.COLUMN_PT, paper.PAGE_PT])
@pytest.mark.parametrize("name", ["convergence", "learning_rates", "retention", "pareto"])
def test_every_figure_is_drawn_at_the_widths_of_a_paper(name: str, width: float) -> None:
    from PIL import Image

    data = paper.render(FIGURES[name], ("png",), width)["png"]
    with Image.open(io.BytesIO(data)) as image:
        assert image.width == int(width / paper.POINTS_PER_INCH * paper.PNG_DPI)


def test_names_of_ticks_never_touch() -> None:
    rates = [5e-5, 1e-4, 2e-4, 3e-4, 4e-4, 1e-3]
    named = paper.apart(rates, 186)
    assert (named[0], named[-1]) == (5e-5, 1e-3)
    assert not {2e-4, 3e-4, 4e-4} <= set(named)  # "2e-43e-4"
    assert paper.apart(rates, 2000) == rates
    assert paper.apart([1e-4], 100) == [1e-4]


def test_a_pdf_keeps_its_text_and_is_the_same_every_time() -> None:
    first, second = (paper.render(FIGURES["retention"], ("pdf",))["pdf"] for _ in range(2))
    assert first == second
    assert first.startswith(b"%PDF")
    assert b"/Type3" not in first.replace(b" ", b"")


@pytest.mark.parametrize(("value", "text"), [(1e-4, "1e-4"), (0.02, "0.02"), (2.5e-3, "2.5e-3")])
def test_rates_are_written_shortly(value: float, text: str) -> None:
    assert paper._short(value) == text
