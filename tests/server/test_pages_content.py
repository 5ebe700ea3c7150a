"""What stands on the pages of projects and sweeps: rows, columns, filters and points."""

import json

import pytest

from agent.results.presentation import style_of
from agent.server.pages.metrics import better_of, variant_of
from agent.server.pages.table import Column, columns_of, decimals_of, payload
from agent.server.pages.view import (
    Choice,
    draw,
    duration,
    number,
    size_text,
    sort_rows,
    text_of,
)
from tests.server.pages_reader import (
    AUTH,
    data,
    make_run,
    rows_of,
    see,
)
from tests.server.server_lab import Lab


def test_numbers_are_written_for_people() -> None:
    known = {
        0: "0",
        3.0: "3",
        0.73694: "0.7369",
        1234.56: "1235",
        5e-05: "5e-5",
        1.234e-7: "1.23e-7",
        -0.25: "-0.25",
        0.0005: "0.0005",
        1e-4: "0.0001",
        999.95: "1000",
    }
    assert {value: number(value) for value in known} == known
    assert [duration(s) for s in (7, 185, 7620)] == ["7 s", "3 min 05 s", "2 h 07 min"]
    assert [size_text(s) for s in (814, 3500, 1.2e9)] == ["814 B", "3.5 KB", "1.2 GB"]


def test_rows_are_sorted_with_the_unknown_last_either_way() -> None:
    rows = rows_of({"x": 2}, {}, {"x": 10.5}, {"x": "text"}, {"x": -1})
    assert [row.id for row in sort_rows(rows, "x", False)] == ["r4", "r0", "r2", "r3", "r1"]
    assert [row.id for row in sort_rows(rows, "x", True)] == ["r2", "r0", "r4", "r3", "r1"]


def test_a_column_whose_value_is_the_same_everywhere_is_sent_once() -> None:
    sent = payload(rows_of({"a": 1, "b": 1}, {"a": 1, "b": 2}), 2, None)
    by_key = {column["key"]: column for column in sent["columns"]}
    assert by_key["a"]["constant"] == 1
    assert by_key["b"]["values"] == [1, 2]
    assert sent["at"] == 1.0


def test_what_an_inference_run_repeats_comes_last_and_pruned_is_a_state(lab: Lab) -> None:
    make_run(lab, "trained", learning_rate=0.1)
    lab.init("measured", jobType="inference")
    lab.finish("measured")
    lab.init("stopped", tags=["pruned"])
    lab.finish("stopped")
    first = data(lab, "/local/p/data")
    assert first["ids"] == ["stopped", "trained", "measured"]
    by_key = {column["key"]: column for column in first["columns"]}
    assert by_key["state"]["values"] == ["pruned", "finished", "finished"]
    assert "state-pruned" in see(lab, "/local/p/runs/stopped")
    assert data(lab, "/local/p/runs/stopped/data")["state"] == "pruned"


def test_a_project_without_the_studys_metrics_begins_with_what_differs() -> None:
    rows = rows_of(
        {"name": "a", "x": 1, "y": 5, "same": 0}, {"name": "b", "x": 2, "y": 6, "same": 0}
    )
    assert [c.key for c in columns_of(rows) if c.is_first] == ["name", "x", "y"]
    drawn = draw(rows, Choice(text="b", columns=("same",)))
    assert [c.key for c in drawn.columns] == ["name", "same"]
    assert [texts for _, texts in drawn.lines] == [["b", "0"]]


def test_variants_keep_their_names_and_colours() -> None:
    cell = {"model_variant": "QLoRA", "quantization_strategy": "int4"}
    assert variant_of(cell) == "QLoRA int4"
    assert variant_of({**cell, "quantization_method": "gptq"}) == "QLoRA int4 (gptq)"
    assert (
        variant_of({"model_variant": "Full LoRA", "quantization_strategy": "None"}) == "Full LoRA"
    )
    assert variant_of({"lr": 1}) is None
    assert (style_of("Full LoRA"), style_of("QLoRA int4"), style_of("other")) == (0, 1, None)
    assert [better_of(k) for k in ("val_loss", "my/accuracy", "samples_per_sec", "vram_gb")] == [
        "lower",
        "higher",
        "higher",
        "lower",
    ]


def test_a_project_is_sent_whole_and_then_only_what_has_changed(lab: Lab) -> None:
    make_run(lab, "a", learning_rate=0.1)
    lab.now += 10
    make_run(lab, "b", learning_rate=0.2)
    first = data(lab, "/local/p/data")
    assert (first["ids"], first["total"]) == (["b", "a"], 2)
    by_key = {column["key"]: column for column in first["columns"]}
    assert by_key["learning_rate"]["values"] == [0.2, 0.1]
    assert by_key["final/validation_f1_score"]["constant"] == 0.5
    assert "_step" not in by_key
    lab.now += 10
    lab.init("c")
    news = data(lab, f"/local/p/data?since={first['at'] + 1}")
    assert (news["ids"], news["total"]) == (["c"], 3)


def test_a_table_is_sorted_and_filtered_by_its_address_without_any_script(lab: Lab) -> None:
    for name, rate in (("a", 0.1), ("b", 0.3), ("c", 0.2)):
        make_run(lab, name, learning_rate=rate, display_name=f"run-{name}")
    text = see(lab, "/local/p?sort=learning_rate&order=desc&q=learning_rate>0.15")
    assert text.index("run-b</a>") < text.index("run-c</a>")
    assert "run-a</a>" not in text
    assert "2 of 3 runs" in text
    assert text.count('aria-sort="descending"') == 1
    assert 'name="was" value="desc learning_rate"' in text
    again = see(lab, "/local/p?sort=learning_rate&was=desc+learning_rate")
    assert again.index("run-a</a>") < again.index("run-b</a>")  # the next press turns it round
    assert "No runs pass this filter" in see(lab, "/local/p?q=nothing-like-it")


def test_the_first_press_on_a_score_sorts_the_best_first_and_on_a_cost_the_lowest(lab: Lab) -> None:
    columns = {"final/validation_f1_score": "ba", "loss": "ab", "learning_rate": "ab"}
    for name, value in (("a", 0.25), ("b", 0.5)):
        lab.init(name, displayName=name, config=json.dumps({"learning_rate": {"value": value}}))
        lab.summarize(name, {"final/validation_f1_score": value, "loss": value})
    for key, order in columns.items():
        text = see(lab, f"/local/p?sort={key}")
        assert (text.index(">a</a>") < text.index(">b</a>")) == (order == "ab"), key


def test_a_column_of_results_has_the_same_number_of_decimals_in_every_row() -> None:
    assert decimals_of([0.7, 0.73694, 0.05]) == 4
    assert decimals_of([23.71, 23.7, 0.5]) == 2
    assert decimals_of([1, 2, 3]) is None  # whole numbers stay whole
    assert decimals_of([1e-6, 0.5]) is None  # too far apart: each for itself
    assert decimals_of([1e300, 0.5, 0.0]) is None
    assert decimals_of([]) is None
    rows = rows_of({"f1": 0.7}, {"f1": 0.73694}, {"f1": "NaN"}, {})
    column = Column("f1", "summary", [row.values.get("f1") for row in rows])
    assert column.is_number
    assert [text_of("f1", v, column.digits) for v in column.values] == [
        "0.7000",
        "0.7369",
        "NaN",
        "",
    ]


def test_a_project_with_too_many_runs_says_which_are_shown(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.server.pages.routes.MAX_RUNS", 2)
    monkeypatch.setattr("agent.server.pages.table.MAX_RUNS", 2)
    for name in "abc":
        make_run(lab, name)
    assert "The newest 2 of 3 runs are shown" in see(lab, "/local/p")
    sent = data(lab, "/local/p/data")
    assert (sent["ids"], sent["total"], sent["left_out"]) == (["c", "b"], 2, 1)


def test_a_changed_run_is_read_again(lab: Lab) -> None:
    make_run(lab, "a")
    first = data(lab, "/local/p/data")
    lab.now += 1
    lab.summarize("a", {"final/validation_f1_score": 0.75})
    (row,) = data(lab, f"/local/p/data?since={first['at']}")["ids"]
    assert row == "a"
    assert "0.75" in see(lab, "/local/p")


def test_long_answers_are_packed(lab: Lab) -> None:
    for place in range(40):
        lab.init(
            f"r{place}",
            notes="x",
            config=json.dumps({f"key{i}": {"value": f"{place} {i}"} for i in range(60)}),
        )
    answer = lab.http.get("/local/p/data", auth=AUTH)
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()["ids"]) == 40
    plain = lab.http.get("/local/p/data", auth=AUTH, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json() == answer.json()


def test_a_sweep_shows_every_point_of_its_grid_with_its_state(lab: Lab) -> None:
    sweep = lab.make_sweep()
    agent = lab.make_agent(sweep)
    first = lab.claim(agent)
    lab.init(first, sweep=sweep["name"])
    lab.summarize(first, {"loss": 0.5})
    lab.finish(first)
    second = lab.claim(agent)
    shown = data(lab, f"/local/p/sweeps/{sweep['name']}/data")
    columns = {column["key"]: column for column in shown["columns"]}
    assert columns["state"]["values"] == ["finished", "starting", *["waiting"] * 4]
    assert shown["ids"][:3] == [first, second, ""]
    points = list(
        zip(columns["learning_rate"]["values"], columns["variant"]["values"], strict=True)
    )
    assert len(set(points)) == 6
    assert (shown["expected"], shown["ended"], shown["better"]) == (6, 1, "lower")
    assert shown["keys"] == ["learning_rate", "variant"]
    text = see(lab, f"/local/p/sweeps/{sweep['name']}")
    assert text.count("waiting</span>") == 4
    assert "1 of 6" in text
    assert "<b>0.5</b>" in text


@pytest.mark.parametrize(("goal", "first"), [("maximize", "run-b"), ("minimize", "run-a")])
def test_the_best_runs_of_a_sweep_follow_its_goal(lab: Lab, goal: str, first: str) -> None:
    metric = f"metric: {{name: score, goal: {goal}}}"
    sweep = lab.make_sweep(f"method: random\n{metric}\nparameters: {{x: {{min: 0, max: 1}}}}")
    for name, score in (("a", 1), ("b", 2)):
        lab.init(name, sweep=sweep["name"], displayName=f"run-{name}")
        lab.summarize(name, {"score": score})
    text = see(lab, f"/local/p/sweeps/{sweep['name']}")
    best = text.split('id="best"')[1].split("</ol>")[0]
    assert best.index(first) == min(best.index("run-a"), best.index("run-b"))
