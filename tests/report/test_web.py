import json
import re
from html.parser import HTMLParser
from typing import Any

import plotly.graph_objects as go
import pytest

from agent.report import web
from agent.report.plotly_traces import to_plotly
from agent.report.plots import figures_of
from agent.results.run_table import Row
from agent.results.study import examine
from tests.results.known_table import known_rows, run

BASE = Row("base", "baseline", {"final/validation_f1_score": 0.2, "inference/model_size_gb": 2.0})
STUDY = examine([*known_rows(), BASE], "A <b>title</b>")
FIGURES = figures_of(STUDY)


@pytest.fixture(scope="module")
def page() -> str:
    return web.page(STUDY, FIGURES)


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action")]


def test_the_page_asks_for_nothing_outside_itself(page: str) -> None:
    parser = _Addresses()
    parser.feed(page)
    assert parser.found == []
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\(\s*['\"]?http", page.split("<script>")[0])


def test_names_from_runs_are_text_not_markup(page: str) -> None:
    assert "<title>A &lt;b&gt;title&lt;/b&gt;</title>" in page
    rows = [run("full", 1e-3, 0.5, dataset="</script><script>alert(1)</script>")]
    study = examine(rows, "t")
    assert "<script>alert(1)" not in web.page(study, figures_of(study))


def test_every_cell_and_every_run_stand_on_the_page(page: str) -> None:
    for label in STUDY.styles():
        assert f'<th scope="row">{label}</th>' in page
    for row in STUDY.rows:
        assert row.run_id in page
    assert page.count('class="pruned"') == 2


def test_metrics_that_no_run_has_are_named(page: str) -> None:
    assert "Training VRAM (<code>train/peak_vram_gb</code>)" in page


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_plotly_accepts_every_figure(figure: Any) -> None:
    drawn = to_plotly(figure)
    assert len(go.Figure(drawn).data) == len(figure.series)


def test_the_scatter_carries_the_front_of_every_pair_of_metrics() -> None:
    _, scatters = web.payload(STUDY, FIGURES)
    scatter = scatters["scatter-1"]
    keys = [axis["key"] for axis in scatter["axes"]]
    assert len(scatter["fronts"]) == len(keys) * (len(keys) - 1) / 2
    points = scatter["points"]
    front = scatter["fronts"]["H100|final/validation_f1_score inference/model_size_gb"]
    found = [points[i]["values"]["final/validation_f1_score"] for i in front]
    assert sorted(found) == [0.6, 0.8]
    assert scatter["x"] == "inference/avg_latency_ms_per_sample"


def test_missing_values_are_null_not_zero() -> None:
    _, scatters = web.payload(STUDY, FIGURES)
    base = scatters["scatter-1"]["points"][-1]
    assert base["label"] == "Untouched base"
    assert base["values"]["inference/avg_latency_ms_per_sample"] is None


def test_embedded_json_holds_no_markup_and_reads_back() -> None:
    value = {"a": "</script>&\u2028", "b": [1.5, None]}
    text = web.embed(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_not_a_number_never_reaches_the_page() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        web.embed({"a": float("nan")})


def test_a_scatter_has_a_front_for_each_type_of_gpu() -> None:
    rows = [
        run("full", rate, f1, inference__avg_latency_ms_per_sample=ms, inference__gpu=gpu)
        for gpu, rate, f1, ms in (
            ("A", 1e-4, 0.5, 9.0),
            ("B", 1e-3, 0.6, 5.0),
            ("B", 2e-3, 0.4, 4.0),
        )
    ]
    study = examine(rows)
    scatter = web.payload(study, figures_of(study))[1]["scatter-1"]
    assert scatter["gpus"] == ["B", "A"]
    pair = "final/validation_f1_score inference/avg_latency_ms_per_sample"
    assert {gpu: len(scatter["fronts"][f"{gpu}|{pair}"]) for gpu in "AB"} == {"A": 1, "B": 2}


def test_the_first_section_has_the_figure_before_the_table(page: str) -> None:
    body = page[page.index("<body>") :]
    order = ['class="answer"', 'data-figure="retention"', 'data-figure="relative_costs"', "<table"]
    places = [body.index(part) for part in order]
    assert places == sorted(places)


def test_no_part_that_is_an_image_holds_buttons(page: str) -> None:
    assert 'role="img"' not in page.split("<script>")[0]
