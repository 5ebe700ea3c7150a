"""The report's page in a real headless browser, without any network."""

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from agent.report.plots import figures_of
from agent.report.web import page
from agent.results.csv_table import read_csv
from agent.results.study import examine
from tests.end_to_end.pages_lab import DRIVER, complaints, opened_browser, wait_for
from tests.report.made_up_study import study_rows

AXE = Path(__file__).parents[1] / "vendor" / "axe.min.js"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on PATH")

CELLS = [("Full LoRA", "None", 2.0), ("QLoRA", "int4", 0.5), ("LoRA+PTQ", "int4", 0.5)]

# Runs after the page's own script: uses what a reader would use, and writes down what came of it.
PROBE = """<script>
const seen = {};
const first = () => document.querySelector("table.sortable tbody tr td:nth-child(4)").textContent;
const column = document.querySelectorAll("table.sortable thead button")[3];
column.click(); seen.down = first();
column.click(); seen.up = first();
const box = document.getElementById("filter");
box.value = "qlora"; box.dispatchEvent(new Event("input"));
seen.filtered = document.getElementById("count").textContent;
const before = getComputedStyle(document.body).backgroundColor;
document.getElementById("theme").click();
seen.themed = before !== getComputedStyle(document.body).backgroundColor;
const axis = document.querySelector("select[data-axis=x]");
axis.value = "final/validation_accuracy"; axis.dispatchEvent(new Event("change"));
seen.axis = document.querySelector("[data-scatter] .xtitle").textContent;
seen.plots = document.querySelectorAll(".plot .main-svg").length > 0
  && [...document.querySelectorAll(".plot")].every((plot) => plot.querySelector(".main-svg"));
document.title = "seen " + Object.entries(seen).map((pair) => pair.join("=")).join(";");
</script></body>"""


def _table() -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        [
            "run_id",
            "state",
            "model_variant",
            "quantization_strategy",
            "learning_rate",
            "epoch",
            "final/validation_f1_score",
            "final/validation_accuracy",
            "inference/model_size_gb",
        ]
    )
    for variant, strategy, size in CELLS:
        for rate in (1e-4, 1e-3):
            score = 0.3 + 400 * rate + size / 100
            name = f"{variant}-{strategy}-{rate}"
            writer.writerow([name, "finished", variant, strategy, rate, 1, score, score / 2, size])
    return out.getvalue()


def test_the_page_draws_sorts_filters_and_changes_theme_without_a_console_error(
    tmp_path: Path,
) -> None:
    study = examine(read_csv(_table()), "Report")
    path = tmp_path / "report.html"
    path.write_text(page(study, figures_of(study)).replace("</body>", PROBE))
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        "--window-size=1280,2000",
        "--virtual-time-budget=6000",
        "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={tmp_path / 'profile'}",
        path.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    title = re.search(r"<title>seen ([^<]*)</title>", done.stdout)
    assert title is not None
    seen = dict(pair.split("=", 1) for pair in title[1].split(";"))
    assert seen == {
        "down": "0.001",
        "up": "0.0001",
        "filtered": "2 of 6 runs",
        "themed": "true",
        "axis": "Final validation accuracy, higher is better",
        "plots": "true",
    }


@pytest.mark.skipif(DRIVER is None, reason="no chromedriver on PATH")
@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_axe_has_no_finding_and_nothing_is_wider_than_the_screen(
    width: int, theme: str, tmp_path: Path
) -> None:
    rows = study_rows(seeds=2, examples=40, gpus=("H100", "A100"))
    longer = [replace(row, values={**row.values, "epochs": 9}) for row in rows[:40]]
    study = examine([*rows, *longer], "A report")
    path = tmp_path / "report.html"
    path.write_text(page(study, figures_of(study)))
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    features = [{"name": "prefers-color-scheme", "value": theme}]
    with opened_browser() as driver:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(path.as_uri())
        drawn = "[...document.querySelectorAll('.plot')].every((p) => p.querySelector('.main-svg'))"
        wait_for(driver, drawn)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        driver.execute_script(AXE.read_text(encoding="utf-8"))
        found = driver.execute_async_script(
            "const done = arguments[0]; axe.run().then(({violations}) => done(violations.map("
            "({id, impact, nodes}) => [id, impact, nodes.length, nodes[0].html])))"
        )
        assert found == []
        gpu = "document.querySelector('select[data-axis=gpu]')"
        points = "document.querySelectorAll('[data-scatter] .scatterlayer .point').length"
        before = driver.execute_script(f"return {points}")
        driver.execute_script(f"{gpu}.value = 'H100'; {gpu}.dispatchEvent(new Event('change'));")
        assert driver.execute_script(f"return {points}") > 0 < before
        assert complaints(driver) == []
