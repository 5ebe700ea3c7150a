"""The pages in a real headless Chromium: 1,000 runs, hostile names, forms, live values."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.results.presentation import LATENCY, SCORE
from agent.server.pages.view import duration, number
from agent.server.process import running_server
from agent.server_note import login_header
from tests.end_to_end.pages_desk import Desk, needs_browser
from tests.end_to_end.pages_lab import HOSTILE, complaints, fill, log_in, opened_browser, wait_for
from tests.end_to_end.server_client import client_of

RUNS, POINTS = 1000, 40


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    pytest.importorskip("selenium", reason="selenium is not installed")
    data = tmp_path_factory.mktemp("pages") / "data"
    fill(data, RUNS, POINTS)
    fill(data, 3, POINTS, "live")
    with running_server(data) as server, opened_browser() as driver:
        log_in(driver, server.base_url, server.env["WANDB_API_KEY"], "/local/study?rows=500")
        assert driver.current_url == f"{server.base_url}/local/study?rows=500"
        yield Desk(server, driver)


@needs_browser
def test_a_thousand_runs_are_sorted_filtered_grouped_and_drawn(desk: Desk) -> None:
    desk.open("/local/study")
    assert desk.texts("#count") == [f"{RUNS} of {RUNS} runs"]
    assert len(desk.texts("#runs tbody tr")) == 100
    assert desk.chart("#curves", "chart.seen.length") == RUNS
    assert desk.chart("#scatter", "chart.seen.length") == RUNS
    assert desk.chart("#scatter", "chart.spec.front.length") > 1
    head = "document.querySelector('#runs [title=\"final/validation_f1_score\"]')"
    desk.js(f"{head}.focus(); {head}.click()")
    assert desk.js(f"return {head}.closest('th').ariaSort") == "descending"
    assert desk.js(f"return document.activeElement === {head}")  # the keyboard stays where it was
    column = desk.js(f"return {head}.closest('th').cellIndex") + 1
    scores = [float(text) for text in desk.texts(f"#runs tbody td:nth-child({column})")]
    assert len(scores) == 100
    assert scores == sorted(scores, reverse=True)
    desk.choose("[name=group]", "variant")
    assert len(desk.texts("#runs .group")) == 5
    assert "(200, means of " in desk.texts("#runs .group button")[0]
    desk.filter("qlora learning_rate<0.0001 seed=3", f"4 of {RUNS} runs")
    assert len(desk.texts("#runs tbody tr:not(.group)")) == 4
    wait_for(desk.driver, "document.querySelector('#curves').chart.seen.length === 4")
    desk.js("document.querySelector('.chooser input[value=setting_7]').click()")
    assert "setting_7" in desk.texts("#runs thead button")
    assert "setting_7" in desk.driver.current_url
    assert desk.is_quiet()


@needs_browser
def test_the_address_of_a_view_brings_the_view_back(desk: Desk) -> None:
    desk.open("/local/study?sort=seed&order=desc&q=int8&group=seed&columns=seed,variant")
    assert desk.texts("#runs thead button") == ["Run", "Variant", "seed"]
    assert desk.texts("#count") == [f"400 of {RUNS} runs"]
    assert desk.texts("#runs .group button")[0].startswith("39 ")


@needs_browser
def test_the_axes_of_the_scatter_are_chosen_and_its_points_read_by_keyboard(desk: Desk) -> None:
    desk.open("/local/study?q=seed=0")
    desk.choose("#scatter-x", "inference/model_size_gb")
    assert desk.chart("#scatter", "chart.spec.x") == "Model size (GB), lower is better"
    chart = desk.js("return document.querySelector('#scatter .chart')")
    chart.send_keys("\ue014")  # the right arrow
    said = desk.texts("#scatter .said-of-chart")[0]
    assert "Model size (GB), lower is better 1.9" in said
    chart.send_keys("\ue007")  # enter opens the run
    wait_for(desk.driver, "location.pathname.includes('/runs/')")
    assert desk.is_quiet()


@needs_browser
def test_hostile_names_stay_texts(desk: Desk) -> None:
    for path in (
        "/local/study?q=run00000",
        "/local/study/sweeps/seeded-study",
        "/local/study/runs/run00000",
    ):
        desk.open(path)
        assert any(HOSTILE in text for text in desk.texts("#runs tbody a, h1"))
        assert desk.js("return document.querySelectorAll('img').length") == 0
    code = "try { document.body.innerHTML = '<b>x</b>' } catch (error) { return error.name }"
    assert desk.js(code) == "TypeError"  # trusted types: no script makes markup of a text
    complaints(desk.driver)


@needs_browser
def test_a_sweep_is_paused_and_resumed_by_its_buttons(desk: Desk) -> None:
    desk.open("/local/study/sweeps/seeded-study")
    assert desk.texts("#sweep-state") == ["running"]
    assert len(desk.texts("#best li")) == 4
    assert desk.js("return document.querySelectorAll('#parallel .line').length") == 4
    assert desk.texts("#runs tbody .state").count("waiting") == 6
    for button, state in (("Pause", "paused"), ("Resume", "running")):
        desk.js(
            "[...document.querySelectorAll('form button')]"
            ".find((b) => b.textContent === arguments[0]).click()",
            button,
        )
        wait_for(desk.driver, f"document.querySelector('#sweep-state')?.textContent === '{state}'")
    wait_for(desk.driver, "document.documentElement.dataset.ready")
    assert desk.is_quiet()


@needs_browser
def test_pages_follow_what_runs_without_being_loaded_again(desk: Desk) -> None:
    desk.open("/local/live")
    assert desk.texts("#count") == ["3 of 3 runs"]
    upsert = "mutation M($i: UpsertBucketInput!) {upsertBucket(input: $i) {inserted}}"
    new = {"name": "new", "modelName": "live", "displayName": HOSTILE, "config": "{}"}
    desk.post("/graphql", {"query": upsert, "variables": {"i": new}})
    desk.js("document.querySelectorAll('#runs tbody a')[1].focus()")
    wait_for(desk.driver, "document.querySelector('#count').textContent === '4 of 4 runs'")
    assert desk.js("return document.activeElement.textContent") == "run 1"  # the focus stays
    points = desk.chart("#scatter", "chart.seen.length")
    measured = {
        **new,
        "name": "measured",
        "jobType": "inference",
        "displayName": "measured",
        "summaryMetrics": json.dumps({SCORE: 0.5, LATENCY: 9.0}),
    }
    desk.post("/graphql", {"query": upsert, "variables": {"i": measured}})
    wait_for(desk.driver, "document.querySelector('#count').textContent === '5 of 5 runs'")
    assert desk.chart("#scatter", "chart.seen.length") == points
    assert HOSTILE in desk.texts("#runs tbody a")
    desk.open("/local/live/runs/run00001")
    assert desk.texts("#run-state") == ["running"]
    before = desk.js("return document.querySelectorAll('#history figure').length")
    rows = [json.dumps({"_step": POINTS + i, "epoch": 3 + i, "fresh": i}) for i in range(2)]
    part = {
        "files": {
            "wandb-history.jsonl": {"offset": POINTS, "content": rows},
            "output.log": {"offset": 0, "content": ["<b>said live</b>"]},
            "wandb-summary.json": {"offset": 0, "content": ['{"fresh": 1}']},
        },
        "complete": True,
        "exitcode": 0,
    }
    desk.post("/files/local/live/run00001/file_stream", part)
    wait_for(desk.driver, "document.querySelector('#run-state').textContent === 'finished'")
    wait_for(desk.driver, "document.querySelector('#console').textContent.includes('said live')")
    assert desk.js("return document.querySelectorAll('#history figure').length") == before + 1
    assert "fresh" in desk.texts("#summary th")
    assert "The run has ended" in desk.texts("[role=note]")[0]
    assert desk.is_quiet()


@needs_browser
def test_script_and_server_write_numbers_alike(desk: Desk) -> None:
    values = [0, 3, 0.73694, 1234.56, 5e-05, 1.234e-7, -0.25, 1e-4, 999.95, 12345678.9, 0.1 + 0.2]
    code = (
        "const done = arguments[arguments.length - 1];"
        "import('/static/format.js').then((m) => done(arguments[0].map(m[arguments[1]])))"
    )
    script = desk.driver.execute_async_script
    assert script(code, values, "number") == [number(value) for value in values]
    seconds = [0, 59.4, 60, 185, 3600, 7620]
    assert script(code, seconds, "duration") == [duration(value) for value in seconds]


@needs_browser
def test_the_front_is_what_no_other_run_beats(desk: Desk) -> None:
    points = [{"x": (i * 37) % 11, "y": (i * 53) % 13} for i in range(40)]
    code = (
        "const done = arguments[arguments.length - 1];"
        "import('/static/pareto.js').then((m) => done(m.front(arguments[0], ['lower', 'higher'])))"
    )
    found = {(p["x"], p["y"]) for p in desk.driver.execute_async_script(code, points)}
    every = {(p["x"], p["y"]) for p in points}
    unbeaten = {
        (x, y)
        for x, y in every
        if not any((a <= x and b >= y) and (a, b) != (x, y) for a, b in every)
    }
    assert found == unbeaten


@needs_browser
@pytest.mark.parametrize("path", ["", "/sweeps/seeded-study", "/runs/run00000"])
def test_every_control_has_a_name_and_every_table_its_heads(desk: Desk, path: str) -> None:
    desk.open(f"/local/study{path}")
    tree = desk.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {
        "button",
        "link",
        "combobox",
        "searchbox",
        "textbox",
        "checkbox",
        "table",
        "application",
        "image",
        "region",
        "figure",
    }
    nameless = [
        node["role"]["value"]
        for node in tree
        if not node["ignored"]
        and node["role"]["value"] in roles - {"figure"}
        and not node.get("name", {}).get("value", "").strip()
    ]
    assert nameless == []
    headless = (
        "[...document.querySelectorAll('table')].filter((t) => !t.querySelector('th[scope]'))"
    )
    assert desk.js(f"return {headless}.length") == 0
    assert desk.js("return document.querySelectorAll('h1').length") == 1


@needs_browser
def test_pages_are_dark_where_the_reader_wants_it_and_fit_a_narrow_screen(desk: Desk) -> None:
    desk.open("/local/study")
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = desk.js(ground)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    desk.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    assert desk.js(ground) != light
    desk.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    narrow = {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    desk.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    for path in ("", "/sweeps/seeded-study", "/runs/run00000"):
        desk.open(f"/local/study{path}")
        assert desk.js("return [innerWidth, document.documentElement.scrollWidth]") == [380, 380]
    desk.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


MAKE = """
import json, wandb
with wandb.init(project="real", id="r1", config={"learning_rate": 0.1}) as run:
    for epoch in (1, 2):
        run.log({"epoch": epoch, "validation/f1_score": epoch / 4}, step=epoch)
    rows = [{"score": i / 40, "output": f"said <{i}>", "gold": "g"} for i in range(40)]
    open("predictions.jsonl", "w").write("\\n".join(map(json.dumps, rows[::-1])))
    artifact = wandb.Artifact("answers", "predictions"); artifact.add_file("predictions.jsonl")
    run.log_artifact(artifact).wait()
    print("hello from the run")
    answer = {"run": run.url, "project": run.project_url}
"""


def test_the_addresses_of_the_real_client_show_what_it_logged(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        client = client_of(server, tmp_path / "client")
        urls = client.python(MAKE)

        def read(address: str) -> str:
            headers = login_header(server.env["WANDB_API_KEY"])
            request = urllib.request.Request(address, headers=headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                text: str = answer.read().decode()
                return text

        assert urls["run"].startswith(server.base_url)
        page = read(urls["run"])
        assert "The 20 worst of 40 by score" in page
        assert page.index("said &lt;0&gt;") < page.index("said &lt;19&gt;")
        assert "said &lt;20&gt;" not in page
        assert "hello from the run" in page
        assert "answers:v0" in page
        assert "learning_rate" in read(urls["project"])
        curves = json.loads(read(f"{urls['project']}/curves?key=validation/f1_score"))
        assert curves["curves"] == {"r1": [[1, 2], [0.25, 0.5]]}
