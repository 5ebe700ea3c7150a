"""Curves and histories: thinned, with gaps, over epochs or steps, read on where they were."""

import math
from typing import Any

from agent.server.pages.series import (
    CurveCache,
    HistoryCache,
    curves_payload,
    gaps,
    read_curve,
    thin,
)
from tests.server.pages_reader import (
    data,
    make_run,
)
from tests.server.server_lab import Lab


def test_thinning_keeps_both_ends_and_every_extreme() -> None:
    values = [math.sin(i / 50) for i in range(5000)]
    values[1234], values[4321] = 9.0, -9.0
    kept = thin(values, 100)
    assert len(kept) <= 100
    assert {0, 1234, 4321, 4999} <= set(kept)
    assert kept == sorted(kept)
    assert thin([3.0, 1.0], 100) == [0, 1]


def test_curves_are_over_epochs_where_all_runs_know_them(lab: Lab) -> None:
    make_run(lab, "a")
    found = data(lab, "/local/p/curves?key=validation/f1_score")
    assert (found["x"], found["heading"]) == ("Epoch", "Validation F1")
    assert found["curves"] == {"a": [[1, 2, 3], [0, 0.25, 0.5]]}
    lab.init("b")
    lab.log("b", 0, [{"_step": 7, "validation/f1_score": 0.9}, {"_step": 8, "other": 1}])
    found = data(lab, "/local/p/curves?key=validation/f1_score")
    assert (found["x"], found["curves"]["b"]) == ("Step", [[7], [0.9]])
    assert data(lab, "/local/p/curves?key=nothing")["curves"] == {}


def test_a_curve_leaves_out_what_is_not_a_number_and_finds_nested_and_odd_keys(lab: Lab) -> None:
    make_run(lab, "a")
    rows = [{"_step": 3, "deep": {"väl": 4}}, {"_step": 4, "deep": {"väl": True}}]
    lab.log("a", 3, rows)
    bad = {"offset": 5, "content": ['{"_step": 5, "deep": {"väl": NaN}}', "not json väl"]}
    lab.post("a", {"files": {"wandb-history.jsonl": bad}})
    with lab.services.database.read() as connection:
        (run_id,) = connection.execute("SELECT id FROM run").fetchone()
        assert read_curve(connection, run_id, "odd") == [(1.0, 2.0, 1.0), (2.0, 3.0, 2.0)]
        assert read_curve(connection, run_id, "deep.väl") == [(3, None, 4), (5, None, None)]
        cache = CurveCache()
        assert cache.curve(connection, run_id, 1, "validation/f1_score")[2] == (2.0, 3.0, 0.5)
        connection.execute("SELECT 1")
        assert len(cache.curve(connection, run_id, 1, "validation/f1_score")) == 3
    assert curves_payload([], 0) == {"x": "Epoch", "curves": {}}


def test_what_is_missing_or_not_finite_stays_missing_in_curves(lab: Lab) -> None:
    lab.init("a")
    steps = [0, 1, 2, 3, 20, 21, 22, 23]
    rows: list[dict[str, Any]] = [
        {"_step": i, "epoch": i, "loss": i / 2, "train/loss": 1} for i in steps
    ]
    rows[1]["loss"] = None  # logged without a value
    del rows[2]["loss"]  # not logged at all: no gap
    lab.log("a", 0, rows)
    odd = ['{"_step": 24, "epoch": 24, "loss": NaN}', '{"_step": 25, "epoch": 25, "loss": 1e999}']
    lab.post("a", {"files": {"wandb-history.jsonl": {"offset": len(rows), "content": odd}}})
    curve = data(lab, "/local/p/curves?key=loss")["curves"]["a"]
    assert curve == [
        [0, 1, 3, 11.5, 20, 21, 22, 23, 24],
        [0, None, 1.5, None, 10, 10.5, 11, 11.5, None],
    ]
    history = data(lab, "/local/p/runs/a/data")["history"]["loss"]
    assert [y is None for y in history["y"]] == [y is None for y in curve[1]]
    assert history["step"] == curve[0]


def test_points_that_grow_apart_or_stand_alone_make_no_gap() -> None:
    assert gaps([0, 1, 2, 10, 11, 12]) == [2]
    assert gaps([1, 2, 4, 8, 16, 32, 64]) == []
    assert gaps([0, 100, 101, 102]) == []  # the value before training
    assert gaps([]) == gaps([1]) == gaps([1, 1, 1, 1]) == []


def test_a_history_goes_on_where_it_was_and_begins_again_with_its_run(lab: Lab) -> None:
    make_run(lab, "a")
    cache = HistoryCache()

    def seen() -> dict[str, Any]:
        with lab.services.database.read() as connection:
            (run_id,) = connection.execute("SELECT id FROM run").fetchone()
            return cache.payload(connection, run_id, "history")

    assert seen()["validation/f1_score"]["y"] == [0, 0.25, 0.5]
    lab.log("a", 3, [{"_step": 3, "validation/f1_score": 0.75, "nested": {"x": 1}}])
    found = seen()
    assert found["validation/f1_score"] == {
        "y": [0, 0.25, 0.5, 0.75],
        "step": [0, 1, 2, 3],
        "epoch": [1, 2, 3, None],
        "seconds": [None] * 4,
    }
    assert found["nested.x"]["y"] == [1]
    with lab.services.database.write() as connection:
        connection.execute("DELETE FROM stream_line")
    lab.log("a", 0, [{"_step": i, "new": i} for i in range(6)])
    assert set(seen()) == {"new"}
