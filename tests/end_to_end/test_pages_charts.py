"""What a researcher reads from charts and does with them, by real clicks in a headless Chromium."""

import csv
import io
from urllib.parse import unquote_plus
from xml.etree import ElementTree

import pytest

from tests.end_to_end.pages_desk import Desk, colours, needs_browser, saved
from tests.end_to_end.pages_desk import desk as desk

pytestmark = needs_browser


def test_the_answer_counts_and_gains_stand_above_the_charts(desk: Desk) -> None:
    desk.open("/local/work")
    assert "established" in desk.texts("#found .headline")[0]
    assert len(desk.texts("#found li")) == 4
    for words in ("1 failed", "1 crashed", "1 pruned", "1 running"):
        assert words in " ".join(desk.texts("#states")[0].split())
    assert "2.47× smaller model" in desk.texts("#variants tbody tr")[1]
    top = "document.querySelector(arguments[0]).getBoundingClientRect().top"
    assert desk.js(f"return {top}", "#curves") < desk.js(f"return {top}", "#variants")
    assert colours(desk, "#curves") > 20
    assert desk.is_quiet()


def test_a_curve_keeps_its_colour_under_the_mouse_and_is_selected_by_a_click(desk: Desk) -> None:
    desk.open("/local/work?curve=f1")
    desk.point_at("#curves", "run6")  # QLoRA int4
    assert desk.texts("#curves .said-of-chart")[0].startswith("run 6: Epoch 2")
    assert (
        "s1" in desk.js("return document.querySelector('#curves .marked').classList.value").split()
    )
    desk.point_at("#curves", "run6", press=True)
    assert "sel=run6" in desk.driver.current_url
    assert desk.texts("#picked output") == ["1 selected"]
    assert desk.js("return document.querySelector('[aria-label=\"Select run 6\"]').checked")
    desk.point_at("#curves", "run6", press=True)
    assert "sel=" not in desk.driver.current_url


def test_axes_lines_smoothing_and_zoom_are_chosen_and_stand_in_the_address(desk: Desk) -> None:
    desk.open("/local/work")
    desk.choose("#curve-key", "loss")
    desk.wait("document.querySelector('#curves').chart.spec.name === 'loss'")
    raw = desk.chart("#curves", "chart.seen[0].ys")
    desk.click("#curves .chart-tools summary")
    desk.click("#curve-logy")
    assert desk.chart("#curves", "chart.plot.scales.y.distr") == 3
    desk.choose("#curve-smooth", "0.9")
    smoothed = desk.chart("#curves", "chart.seen[0].ys")
    assert len(smoothed) == len(raw)
    assert smoothed[0] == raw[0]
    assert smoothed[-1] > raw[-1]  # it falls, and its mean falls behind it
    desk.choose("#curve-lines", "sd")
    assert len(desk.chart("#curves", "chart.spec.bands")) == 5
    desk.choose("[name=group]", "seed")
    assert len(desk.chart("#curves", "chart.spec.bands")) == 3
    plot = desk.chart("#curves", "chart.plot.over")
    desk.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
    desk.drag(plot, (-60, -60), (120, 100))
    desk.wait("document.querySelector('#curves').chart.zoom")
    x = desk.chart("#curves", "chart.view.x")
    full = desk.chart("#curves", "chart.full.x")
    assert full[0] < x[0] < x[1] < full[1]
    address = desk.driver.current_url
    asked = unquote_plus(address)
    for part in ("curve=loss", "cly=1", "smooth=0.9", "lines=sd", "group=seed", "cz="):
        assert part in asked
    desk.open(address.removeprefix(desk.server.base_url))
    assert desk.chart("#curves", "chart.view.x") == pytest.approx(x, rel=1e-4)
    assert len(desk.chart("#curves", "chart.spec.bands")) == 3
    desk.click("#curves .reset")
    assert desk.chart("#curves", "chart.view.x") == full
    assert "cz=" not in desk.driver.current_url
    assert desk.is_quiet()


def test_the_legend_hides_a_group_and_has_its_colour_dash_and_marker(desk: Desk) -> None:
    desk.open("/local/work?group=variant")
    assert len(desk.texts("#legend button")) == 5
    marks = desk.js(
        "return [...document.querySelectorAll('#legend svg')].map((s) => s.getAttribute('class')"
        " + s.querySelector('.line').getAttribute('stroke-dasharray')"
        " + s.querySelector('.point').getAttribute('d'))"
    )
    assert len(set(marks)) == 5
    before = desk.chart("#scatter", "chart.seen.length")
    desk.click("#legend button")
    assert desk.chart("#scatter", "chart.seen.length") < before
    assert "off=Full+LoRA" in desk.driver.current_url


def test_missing_values_are_gaps_and_the_best_value_and_distinct_ticks_are_named(
    desk: Desk,
) -> None:
    desk.open("/local/work?curve=loss&q=run28")
    ys = desk.chart("#curves", "chart.seen[0].ys")
    assert ys.count(None) >= 2
    assert "missing or not finite" in desk.texts("#curves-note")[0]
    assert desk.chart("#curves", "chart.figure.dataset.best") == "0.1"
    for low, high in ((23.7301, 23.7309), (0, 1), (1e-9, 3e-9), (-1e149, 1e149), (5, 5.0000001)):
        words = desk.driver.execute_async_script(
            "const done = arguments[2]; import('/static/scales.js').then((m) =>"
            " done(m.labels(m.ticks(arguments[0], arguments[1]))))",
            low,
            high,
        )
        assert len(set(words)) == len(words) > 1, (low, high)


def test_what_is_seen_is_saved_as_png_svg_and_csv(desk: Desk) -> None:
    desk.open("/local/work?q=seed:0&sx=inference/model_size_gb")
    desk.wait("document.querySelector('#scatter').chart.seen.length === 10")
    name = "final_validation_f1_score_by_inference_model_size_gb"
    png = saved(desk, "#scatter [aria-label='Save as PNG']", f"{name}.png")
    assert png.startswith(b"\x89PNG")
    drawing = saved(desk, "#scatter [aria-label='Save as SVG']", f"{name}.svg").decode()
    assert ElementTree.fromstring(drawing).tag == "{http://www.w3.org/2000/svg}svg"
    assert "QLoRA int4, 2 runs" in drawing
    assert drawing.count("<path") > 10
    text = saved(desk, "#scatter [aria-label='Save as CSV']", f"{name}.csv").decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 10
    assert {row["run"] for row in rows} == {f"run{i}" for i in range(10)}
    table = saved(desk, "#table-csv", "runs.csv").decode()
    assert len(list(csv.DictReader(io.StringIO(table)))) == 10


def test_means_bands_and_smoothing_are_the_numbers_they_say(desk: Desk) -> None:
    code = (
        "const done = arguments[0]; import('/static/smoothing.js').then(({band, smooth}) => done(["
        "band([[[0, 1, 2], [0, 2, null]], [[0, 1, 2], [2, 4, 6]]], 'sd'),"
        "band([[[0, 2], [0, 2]], [[1], [5]]], 'range'),"
        "smooth([0, 1, 2, 3], [1, 1, null, 1], 0.9), smooth([0, 1, 2], [0, 0, 1], 0.5)]))"
    )
    sd, spread, level, step = desk.driver.execute_async_script(code)
    assert [point["mean"] for point in sd] == [1, 3, 6]  # a gap is not bridged
    assert [point["count"] for point in sd] == [2, 2, 1]
    assert sd[0]["high"] - sd[0]["mean"] == pytest.approx(2**0.5)
    assert [(p["low"], p["high"]) for p in spread] == [(0, 0), (1, 5), (2, 2)]
    assert level == [1, 1, None, 1]
    assert step == pytest.approx([0, 0, 0.5 / 0.875])
