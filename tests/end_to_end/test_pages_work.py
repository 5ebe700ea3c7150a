"""What a researcher does with runs on the pages, each by real clicks in a headless Chromium."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.pages_desk import Desk, needs_browser, saved
from tests.end_to_end.pages_desk import desk as desk
from tests.end_to_end.pages_work import LONG

pytestmark = needs_browser
AXE = Path(__file__).parents[1] / "vendor" / "axe.min.js"
PAGES = [
    "/local/work",
    "/local/work/runs/run3",
    "/local/work/runs/run28",
    "/local/work/compare?runs=run3,run8",
    "/local/weighed/sweeps/weighed-1",
    "/local/ranks",
    "/local/empty",
    "/",
    "/authorize",
    "/login",
]


# ------------------------------------------------------------------ runs
def test_runs_are_hidden_from_the_charts_and_shown_again(desk: Desk) -> None:
    desk.open("/local/work")
    before = desk.chart("#curves", "chart.seen.length")
    desk.click("[aria-label='Hide run 6 from the charts']")
    assert desk.chart("#curves", "chart.seen.length") == before - 1
    assert "1 hidden" in desk.texts("#count")[0]
    desk.click("[aria-label='Select run 7']")
    desk.click("[aria-label='Select run 8']")
    desk.click("#picked [value=only]")
    assert desk.chart("#curves", "chart.seen.length") == 2
    assert "only=run7%2Crun8" in desk.driver.current_url
    desk.click("[aria-label='Hide run 6 from the charts']")  # pressed: it shows the run again
    assert desk.chart("#curves", "chart.seen.length") == 3
    desk.click("#picked [value=show]")
    assert desk.chart("#curves", "chart.seen.length") == before
    assert "hide=" not in desk.driver.current_url
    assert "only=" not in desk.driver.current_url


def test_two_runs_are_compared_with_configs_curves_and_predictions(desk: Desk) -> None:
    desk.open("/local/work")
    desk.click("[aria-label='Select run 3']")
    desk.click("[aria-label='Select run 8']")
    desk.click("#picked [value=compare]")
    desk.wait("document.documentElement.dataset.ready && location.pathname.endsWith('/compare')")
    assert desk.texts("[data-what=config-differ] tbody th") == ["learning_rate"]
    assert "final/validation_f1_score" in desk.texts("[data-what=summary-differ] tbody th")
    assert desk.chart("#curves", "chart.seen.length") == 2
    first = desk.texts(".predictions tbody tr:first-child td")
    assert first[0] == "question 0?"
    assert first[2:] == ["answer 0", "1.000", "answer 1", "0.000"]
    assert "3 of 6 examples got different scores" in desk.texts("main")[0]
    assert desk.is_quiet()


def test_a_run_shows_prompts_beside_predictions_and_a_plain_console(desk: Desk) -> None:
    desk.open("/local/work/runs/run3")
    assert desk.texts(".predictions thead th")[:4] == ["score", "prompt", "output", "gold"]
    assert desk.texts("#console") == ["loading: 100%\n"]
    assert desk.texts("#duration") == ["1 min 00 s"]  # of an hour, most for what came after
    best = desk.js("return document.querySelector('#history figure').dataset.best")
    assert best
    plot = desk.js("return document.querySelector('#history figure').chart.plot.over")
    desk.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
    desk.drag(plot, (-40, -30), (70, 50))
    view = desk.wait("document.querySelector('#history figure').chart.zoom")
    desk.open(desk.driver.current_url.removeprefix(desk.server.base_url))
    again = desk.js("return document.querySelector('#history figure').chart.view")
    assert again["x"] == pytest.approx(view["x"], rel=1e-4)
    desk.click("#log-y")
    assert "ly=1" in desk.driver.current_url


def test_name_notes_and_tags_are_edited(desk: Desk) -> None:
    desk.open("/local/work/runs/run9")
    desk.click("#describe summary")
    for name, words in (("name", "renamed"), ("tags", "good, <b>bold</b>"), ("notes", "a\nb")):
        desk.js("document.querySelector(`#describe [name=${arguments[0]}]`).value = ''", name)
        desk.driver.find_element("css selector", f"#describe [name={name}]").send_keys(words)
    desk.click("#describe button")
    desk.wait("document.querySelector('h1')?.textContent.includes('renamed')")
    assert desk.texts(".notes") == ["a\nb"]
    assert "good, <b>bold</b>" in desk.texts(".facts dd")
    desk.open("/local/work")
    desk.click("[aria-label='Select run 11']")
    desk.driver.find_element("css selector", "#picked [name=tag]").send_keys("seen")
    desk.click("#picked [value=tag]")
    desk.wait("document.querySelector('#notice').textContent.includes('1 run tagged seen')")
    desk.filter("tags:seen", "1 of 30")


def test_a_run_is_stopped_and_others_deleted_and_brought_back(desk: Desk) -> None:
    desk.open("/local/work?q=state:running&sel=run27")
    assert desk.js("return document.querySelector('#picked [value=delete]').disabled")
    desk.click("#picked [value=stop]")
    desk.wait("document.querySelector('#notice').textContent.includes('1 run asked to stop')")
    desk.open("/local/work/runs/run27")
    assert "person" in desk.texts(".facts dd")
    desk.open("/local/work")
    for name in ("run 12", "run 13"):
        desk.click(f"[aria-label='Select {name}']")
    desk.click("#picked [value=delete]")
    desk.wait("document.querySelector('#count').textContent === '28 of 28 runs'")
    assert "2 runs deleted" in desk.texts("#notice")[0]
    desk.open("/local/work")  # the way back outlives the page
    assert desk.texts("#count") == ["28 of 28 runs"]
    desk.click("#notice button")
    desk.wait("document.querySelector('#count').textContent === '30 of 30 runs'")
    assert "2 runs brought back" in desk.texts("#notice")[0]
    desk.open("/local/work/runs/run12")
    assert desk.texts("h1")[0].startswith("run 12")
    assert desk.is_quiet()


def test_parallel_coordinates_are_brushed_and_missing_values_have_their_place(desk: Desk) -> None:
    desk.open("/local/weighed/sweeps/weighed-1")
    assert desk.texts("#parallel .absent") == ["missing"]
    assert desk.js("return document.querySelector('#parallel').dataset.within") == "12"
    grip = desk.js("return document.querySelector('#parallel [data-key=learning_rate]')")
    desk.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", grip)
    desk.drag(grip, (0, -138), (0, 60))  # the upper part of the axis
    assert desk.js("return document.querySelector('#parallel').dataset.within") == "4"
    assert "4 of 12 runs" in desk.texts("#parallel .said-of-chart")[0]
    assert "brush=learning_rate" in desk.driver.current_url
    text = saved(desk, "#parallel [aria-label='Save as CSV']", "parallel.csv").decode()
    assert len(text.splitlines()) == 5
    desk.click("#parallel .reset")
    assert desk.js("return document.querySelector('#parallel').dataset.within") == "12"


def test_the_parameter_that_decides_is_called_the_most_important(desk: Desk) -> None:
    desk.open("/local/weighed/sweeps/weighed-1")
    desk.wait("document.querySelector('#importance tbody tr')")
    assert desk.texts("#importance tbody th")[0] == "learning_rate"
    assert float(desk.texts("#importance tbody td")[0]) > 0.5
    assert desk.is_quiet()


def test_a_filter_says_what_is_wrong_under_the_word_and_completes(desk: Desk) -> None:
    desk.open("/local/work")
    desk.filter('variant:"QLoRA int4" learning_rate=1e-4', "3 of 30 runs")
    desk.choose("[name=q]", "learning_rat:3 seed:1")
    desk.wait("!document.querySelector('#query-problem').hidden")
    assert desk.texts("#query-problem mark") == ["learning_rat"]
    assert "learning_rate" in desk.texts("#query-problem")[0]
    box = desk.driver.find_element("css selector", "[name=q]")
    desk.js("arguments[0].value = ''", box)
    box.send_keys("datas")
    desk.wait("document.querySelector('#query-words option')?.value.startsWith('dataset')")
    desk.filter("-state:finished", "4 of 30 runs")


QUERIES: list[tuple[str, int | str]] = [
    ("learning_rate=1e-4", 15),
    ("learning_rate = 0.0001", 15),
    ("learning_rate>1e-4", 15),
    ("learning_rate<=0.0003", 30),
    ('variant:"QLoRA int4"', 6),
    ('variant="QLoRA int4" or variant="QLoRA int8"', 12),
    ("-variant:qlora seed:0", 6),
    ("state:failed", 1),
    ("state!=finished", 4),
    ("-state:finished", 4),
    ("run28", 1),
    (f"name:{LONG}28", 1),
    ("seed>=1 seed<2", 10),
    ("inference/model_size_gb<2", 6),
    ("final/validation_f1_score>0.8", 4),
    ("no-such-word-anywhere", 0),
    ("learnin_rate=1", "learnin_rate"),
    ("seed>many", "many"),
    ('variant:"QLoRA', '"QLoRA'),
    ("(seed:0 or seed:1", "("),
    ("seed:0 or", "or"),
]


def test_right_queries_give_their_count_and_wrong_ones_their_word(desk: Desk) -> None:
    desk.open("/local/work")
    found = {}
    for query, wanted in QUERIES:
        desk.choose("[name=q]", query)
        desk.wait(f"document.querySelector('#query-problem').dataset.asked === {json.dumps(query)}")
        is_wrong = not desk.js("return document.querySelector('#query-problem').hidden")
        mark = desk.texts("#query-problem mark")
        count = desk.texts("#count")[0].partition(" ")[0]
        if (mark[0] if is_wrong else int(count)) != wanted:
            found[query] = (count, mark if is_wrong else None)
    assert found == {}


def test_charts_come_before_tables_with_three_ranks_and_an_empty_project_says_so(
    desk: Desk,
) -> None:
    desk.open("/local/ranks")
    assert len(desk.texts("#found .headline")) == 3
    assert len(desk.texts("#variants details:not([open])")) == 3
    bottom = "return document.querySelector('#curves .chart').getBoundingClientRect().bottom"
    assert desk.js(bottom) < desk.js("return innerHeight")
    desk.open("/local/empty")
    assert "No runs yet" in desk.texts("#states")[0]
    assert "Nothing has been logged yet" in desk.texts("#curves .nothing")
    assert "No runs yet." in desk.texts("#runs tbody td")[0]
    assert desk.is_quiet()


# ------------------------------------------------------------------ any reader, any value
def test_a_finger_reads_values_and_charts_come_first_on_a_phone(desk: Desk) -> None:
    touch = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    desk.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", touch)
    desk.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        desk.open("/local/work")
        top = desk.js("return document.querySelector('#curves').getBoundingClientRect().top")
        assert top < 600
        plot, x, y = desk.at_point("#curves", "run6")
        box = desk.js(
            "const b = arguments[0].getBoundingClientRect();"
            "return [b.left + b.width / 2, b.top + b.height / 2]",
            plot,
        )
        for kind, points in (
            ("touchStart", [{"x": box[0] + x, "y": box[1] + y}]),
            ("touchEnd", []),
        ):
            event: dict[str, Any] = {"type": kind, "touchPoints": points}
            desk.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)
        desk.wait("document.querySelector('#curves .said-of-chart').textContent.includes('Epoch')")
        for path in PAGES[:7]:
            desk.open(path)
            assert desk.js("return [innerWidth, document.documentElement.scrollWidth]") == [
                390,
                390,
            ]
    finally:
        desk.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        desk.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_odd_values_and_long_names_break_no_page(desk: Desk) -> None:
    odd = ("?sx=huge&curve=huge", "?sx=f1&sy=loss&sly=1&slx=1&group=f1", "?group=huge&lines=range")
    views = [f"/local/work{query}" for query in odd]
    for path in (*PAGES[:4], *views, "/local/work/compare?runs=run28,run29"):
        desk.open(path)
        assert desk.is_quiet(), path
    desk.open("/local/work?sort=f1&columns=f1,huge,loss&rows=all")
    assert {"NaN", "∞"} == set(desk.texts("#runs td.odd"))
    column = desk.texts("#runs td:nth-child(3)")
    assert column[0] == "0.8027"  # the best first, all with the same decimals, NaN last
    assert {len(text) for text in column if text and text != "NaN"} == {len("0.5000")}
    assert column[-1] == "NaN"
    desk.open("/local/work/runs/run28")
    assert desk.texts("h1")[0].startswith(LONG)
    assert len(desk.texts("#history figure")) == 2


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_has_no_finding_on_any_page(desk: Desk, theme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": theme}]
    desk.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        found = {}
        for path in PAGES if theme == "light" else PAGES[:2]:
            desk.driver.get(desk.server.base_url + path)
            desk.wait("document.readyState === 'complete'")
            desk.wait(
                "!document.querySelector('[data-page]') || document.documentElement.dataset.ready"
            )
            desk.js("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            desk.js("arguments.length; " + AXE.read_text(encoding="utf-8"))
            result = desk.driver.execute_async_script(
                "const done = arguments[0]; axe.run().then(({violations}) => done(violations.map("
                "({id, impact, nodes}) => [id, impact, nodes.length, nodes[0].html])))"
            )
            if result:
                found[path] = result
        assert found == {}, json.dumps(found, indent=1)
    finally:
        desk.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
