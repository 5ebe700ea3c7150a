import csv
import io
from typing import Any

import pytest

from agent.errors import ReportError
from agent.report.figures import NEUTRAL_STYLE, Figure, Series
from agent.report.paper import render
from agent.report.plotly_traces import to_plotly
from agent.report.plots import figures_of
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


def test_retention_is_a_forest_of_percentages_with_the_base_last() -> None:
    figure = _figures(Row("base", "baseline", {"final/validation_f1_score": 0.2}))["retention"]
    points = {s.label: s.x[0] for s in figure.series if s.kind == "interval"}
    assert points["QLoRA int4"] == pytest.approx(75.0)
    assert figure.rows == tuple(points)
    assert figure.rows[-1] == "Untouched base"
    matched = figure.series[-1]
    assert matched.notes == ("QLoRA int4", "QLoRA int8", "LoRA+PTQ int8")
    assert figure.row_notes[:2] == ("1 seed", "1 seed")


def _kept(*shares: float, base: float | None = None) -> Figure:
    """A forest over variants that keep these shares, three seeds each."""
    cells = ("full", "qlora4", "qlora8", "ptq8")
    rows = []
    for cell, share in zip(cells, (1.0, *shares), strict=False):
        for seed in range(3):
            right = round(400 * share) - seed
            scores = {f"e{i}": float(i < right * 0.8) for i in range(400)}
            f1 = sum(scores.values()) / 400
            size: dict[str, Any] = {"inference__model_size_gb": 2 * share}
            rows.append(run(cell, 1e-3, f1, seed=seed, scores=scores, **size))
    if base is not None:
        rows.append(Row("base", "baseline", {"final/validation_f1_score": base}))
    return {figure.name: figure for figure in figures_of(examine(rows))}["retention"]


def test_the_axis_of_a_forest_tells_95_from_103_also_beside_a_base_at_0() -> None:
    for base in (None, 0.0):
        low, high = _kept(0.95, 1.03, base=base).x_range or (0.0, 0.0)
        assert low > 60
        assert high < 140
    figure = _kept(0.95, 1.03, base=0.0)
    assert figure.edge_of(0.0) == -1
    assert figure.place_of(0.0) == (figure.x_range or (0.0, 0.0))[0]
    drawn = to_plotly(figure)
    base_point = next(t for t in drawn["data"] if t["name"] == "Untouched base")
    assert (base_point["mode"], base_point["text"]) == ("text", ["◀ 0 %"])


def test_rows_name_n_and_seeds() -> None:
    assert _kept(0.95).row_notes == ("3 seeds", "n = 400, 3 seeds")


def test_costs_stand_beside_quality_as_shares() -> None:
    beside = _kept(0.9, 0.5).beside
    assert beside is not None
    (size,) = beside.series
    assert (size.label, size.notes) == ("Model size", ("Full LoRA", "QLoRA int4", "QLoRA int8"))
    assert size.x == pytest.approx((100, 90, 50))
    assert beside.rows == size.notes
    assert "Model size,points" in beside.to_csv()
    assert _figures()["retention"].beside is not None


def test_no_line_hides_another_of_the_same_values() -> None:
    rows = [run(cell, rate, 0.5) for cell in ("full", "ptq8") for rate in (1e-4, 1e-3)]
    figure = next(f for f in figures_of(examine(rows)) if f.name == "learning_rates")
    one, other = figure.series
    assert one.x == other.x
    assert all(a < b for a, b in zip(figure.moved(one), figure.moved(other), strict=True))
    assert figure.moved(one) == pytest.approx(one.x, rel=0.05)


def test_learning_rates_show_the_untouched_base() -> None:
    base = Row("base", "baseline", {"final/validation_f1_score": 0.1})
    figure = _figures(base)["learning_rates"]
    assert [(level.label, level.value) for level in figure.levels] == [("Untouched base", 0.1)]
    assert figure.y_range is None  # it lies among the scores
    near = [run("full", rate, f1) for rate, f1 in ((1e-4, 0.70), (1e-3, 0.72))]
    far = {f.name: f for f in figures_of(examine([*near, base]))}["learning_rates"]
    assert far.y_range is not None
    assert far.y_range[0] > 0.6
    assert "below: Untouched base 0.100" in str(to_plotly(far)["layout"]["annotations"])


def test_every_type_of_gpu_has_a_pareto_figure_of_its_own() -> None:
    rows = [
        run("full", rate, f1, inference__avg_latency_ms_per_sample=ms, inference__gpu=gpu)
        for gpu, factor in (("H100", 1), ("A100", 2))
        for rate, f1, ms in ((1e-4, 0.5, 4.0 * factor), (1e-3, 0.6, 5.0 * factor))
    ]
    rows.append(
        run("full", 2e-3, 0.1, inference__avg_latency_ms_per_sample=9.0, inference__gpu="H100")
    )
    found = {f.name: f for f in figures_of(examine(rows)) if f.name.startswith("pareto")}
    assert list(found) == ["pareto", "pareto-a100"]
    assert found["pareto"].title.endswith("on H100")
    fronts = [next(s for s in f.series if s.kind == "front") for f in found.values()]
    assert [front.x for front in fronts] == [(4.0, 5.0), (8.0, 10.0)]
    assert [front.notes for front in fronts] == [("", "Full LoRA"), ("", "Full LoRA")]


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
    assert 'QLoRA int4,"interval, one seed"' in found.to_csv()
    assert render(found, ("png",))["png"].startswith(b"\x89PNG")


def test_a_front_is_drawn_over_answers_of_one_length() -> None:
    def one(rate: float, f1: float, ms: float, gpu: str, tokens: float) -> Row:
        more: dict[str, Any] = {"inference__gpu": gpu, "inference__tokens_out": tokens}
        return run("full", rate, f1, inference__avg_latency_ms_per_sample=ms, **more)

    rows = [
        one(1e-4, 0.5, 40.0, "A100", 12.0),
        one(1e-3, 0.6, 50.0, "A100", 11.0),
        one(2e-2, 0.1, 5.0, "A100", 1.9),
    ]
    found = {figure.name: figure for figure in figures_of(examine(rows))}["pareto"]
    assert [series.x for series in found.series if series.kind == "front"] == [(40.0, 50.0)]
    assert "whose answers are much longer" in found.caption


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
