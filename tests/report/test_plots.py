import csv
import io
from typing import Any

import pytest

from agent.errors import ReportError
from agent.report.figures import NEUTRAL_STYLE, Figure, Series
from agent.report.paper import render
from agent.report.plots import figures_of
from agent.report.web import to_plotly
from agent.results.run_table import Row
from agent.results.study import examine
from tests.results.known_table import known_rows, run


def _figures(*more: Row) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures_of(examine([*known_rows(), *more]))}


def test_the_four_figures_of_one_family() -> None:
    assert list(_figures()) == ["convergence", "learning_rates", "retention", "pareto"]


def test_convergence_shows_the_chosen_runs_in_front_and_marks_pruned_ones() -> None:
    series = _figures()["convergence"].series
    front = [s for s in series if not s.is_faint]
    assert front[0].label == "Full LoRA"
    assert front[0].y == (0.2, 0.4, 0.8)
    assert [s.is_faint for s in series] == sorted((s.is_faint for s in series), reverse=True)
    cut = [s for s in series if s.is_pruned]
    assert len(cut) == 2
    assert cut[0].notes == ("rung 1, epoch 1",)


def test_learning_rate_curves_never_join_pruned_points() -> None:
    series = _figures()["learning_rates"].series
    (full, cut) = series[:2]
    assert (full.x, full.y) == ((1e-4, 1e-3, 5e-3), (0.2, 0.4, 0.8))
    assert (cut.x, cut.y, cut.is_pruned) == ((2e-2,), (0.04,), True)


def test_seeds_become_a_band() -> None:
    rows = [run("full", 1e-3, f, seed=s, curve=((3.0, f),)) for s, f in enumerate((0.2, 0.6))]
    found = {figure.name: figure for figure in figures_of(examine(rows))}
    (line,) = found["convergence"].series
    assert (line.low, line.high) == ((0.2,), (0.6,))
    assert line.y == pytest.approx((0.4,))


def test_retention_bars_are_percentages_with_the_base_last() -> None:
    figure = _figures(Row("base", "baseline", {"final/validation_f1_score": 0.2}))["retention"]
    bars = {s.label: s.x[0] for s in figure.series if s.kind == "bars"}
    assert bars["QLoRA int4"] == pytest.approx(75.0)
    assert list(bars)[-1] == "Untouched base"
    matched = figure.series[-1]
    assert matched.notes == ("QLoRA int4", "QLoRA int8", "LoRA+PTQ int8")


def test_retention_intervals_are_percentages_too() -> None:
    scores = {str(i): 1.0 for i in range(100)}
    rows = [
        run("full", 1e-3, 1.0, scores=scores),
        run("qlora4", 1e-3, 0.5, scores=dict.fromkeys(scores, 0.5)),
    ]
    found = {figure.name: figure for figure in figures_of(examine(rows))}["retention"]
    bar = next(s for s in found.series if s.label == "QLoRA int4")
    assert bar.x == (50.0,)
    half = 100 * 1.96 * 1.96 / 100  # nothing differs from its ratio: the floor alone
    assert bar.low == pytest.approx((50 - half,), abs=0.1)
    assert bar.high == pytest.approx((50 + half,), abs=0.1)
    assert bar.is_hollow  # one seed
    drawn = {trace["name"]: trace["meta"] for trace in to_plotly(found)["data"]}
    assert drawn["QLoRA int4"]["hollow"]
    assert 'QLoRA int4,"bars, one seed"' in found.to_csv()
    assert render(found, ("png",))["png"].startswith(b"\x89PNG")


def test_a_front_is_drawn_over_one_type_of_gpu_and_answers_of_one_length() -> None:
    def one(rate: float, f1: float, ms: float, gpu: str, tokens: float) -> Row:
        more: dict[str, Any] = {"inference__gpu": gpu, "inference__tokens_out": tokens}
        return run("full", rate, f1, inference__avg_latency_ms_per_sample=ms, **more)

    rows = [
        one(1e-4, 0.5, 40.0, "A100", 12.0),
        one(1e-3, 0.6, 50.0, "A100", 11.0),
        one(1e-2, 0.4, 10.0, "H100", 12.0),
        one(2e-2, 0.1, 5.0, "A100", 1.9),
    ]
    found = {figure.name: figure for figure in figures_of(examine(rows))}["pareto"]
    assert [series.x for series in found.series if series.kind == "front"] == [(40.0, 50.0)]
    assert "another type of GPU or whose answers are much longer" in found.caption


def test_the_pareto_figure_has_every_complete_run_and_its_front() -> None:
    figure = _figures()["pareto"]
    front, *groups = figure.series
    assert sum(len(group.x) for group in groups) == 18
    assert front.style == NEUTRAL_STYLE
    assert list(zip(front.x, front.y, strict=True)) == [(8.0, 0.4), (10.0, 0.8)]


def test_the_pareto_axes_can_be_chosen() -> None:
    figures = figures_of(examine(known_rows()), x="inference/model_size_gb")
    pareto = next(figure for figure in figures if figure.name == "pareto")
    assert pareto.x_title == "Model size (GB)"
    assert list(zip(pareto.series[0].x, pareto.series[0].y, strict=True)) == [
        (0.5, 0.6),
        (1.0, 0.8),
    ]
    with pytest.raises(ReportError, match="'speed' is not a column"):
        figures_of(examine(known_rows()), x="speed")


def test_without_any_cost_there_is_no_pareto_figure() -> None:
    names = [figure.name for figure in figures_of(examine([run("full", 1e-3, 0.5)]))]
    assert "pareto" not in names


def test_two_families_get_figures_of_their_own() -> None:
    names = _figures(run("full", 1e-3, 0.5, max_length=512, run_id="long"))
    assert "retention-1" in names
    assert "retention-2" in names
    assert "max_length = 512" in names["retention-2"].title


def test_the_csv_of_a_figure_holds_every_drawn_point() -> None:
    figure = _figures()["convergence"]
    rows = list(csv.DictReader(io.StringIO(figure.to_csv())))
    assert len(rows) == sum(len(series.x) for series in figure.series)
    assert {row["role"] for row in rows} == {"line", "other run", "pruned"}


def test_a_series_with_parts_of_different_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="parts of different lengths"):
        Series("s", "line", 0, (1.0, 2.0), (1.0,))
