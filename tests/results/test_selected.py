from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.errors import TrackingError
from agent.report import workspace
from agent.results.columns import SCORE
from agent.results.run_table import Scalar
from agent.results.selected import marks_of, selected_families, selected_key
from agent.results.study import examine
from agent.tracking.project_runs import write_marks
from tests.results.known_table import pruned, run

LATENCY = "inference/avg_latency_ms_per_sample"


def _means(rows: list[Any], marks: Any, key: str) -> dict[str, float]:
    """What a bar chart over `selected/` keys, grouped by variant, shows."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        values = marks.get((row.project, row.run_id), {})
        value = values.get(selected_key(key))
        if value is not None:
            groups.setdefault(f"{row.values['model_variant']}", []).append(float(value))
    return {name: sum(values) / len(values) for name, values in groups.items()}


def test_a_plain_group_by_variant_meets_like_with_like() -> None:
    def one(cell: str, rate: float, f1: float, **more: Any) -> Any:
        gpu = {"inference__gpu": "A100", "inference__avg_latency_ms_per_sample": 10.0}
        return run(cell, rate, f1, **{**gpu, **more})

    rows = [
        one("full", 1e-3, 0.8, run_id="a"),
        one("full", 1e-3, 0.6, run_id="twice"),  # the same seed again
        one("full", 1e-3, 0.7, seed=1, run_id="b"),
        one("full", 1e-4, 0.1, run_id="low"),
        replace(one("full", 1e-2, 0.99, run_id="void"), tags=frozenset({"diverged"})),
        pruned("full", 1e-5, ((1.0, 0.3),)),
        one("ptq4", 1e-3, 0.7, inference__gpu="H100", run_id="d"),
        one("ptq4", 1e-5, 0.2, run_id="e"),
    ]
    marks = marks_of(examine(rows))
    assert _means(rows, marks, SCORE) == pytest.approx(
        {"Full LoRA": 0.7, "LoRA+PTQ": 0.7}  # the seed that ran twice counts once
    )
    assert _means(rows, marks, LATENCY) == {"Full LoRA": 10.0}  # the other is of another GPU
    assert marks["demo", "d"]["selected/variant"] == "LoRA+PTQ int4"


def test_each_family_has_keys_of_its_own_with_its_name() -> None:
    rows = [
        *(run("full", rate, 0.8, run_id=f"long-{rate}", max_length=4096) for rate in (1e-3, 1e-4)),
        run("qlora4", 1e-3, 0.7, run_id="quantised", max_length=4096),
        run("full", 1e-3, 0.4, run_id="short"),
        run("qlora4", 1e-3, 0.3, run_id="short-quantised"),
        run("full", 1e-3, 0.9, run_id="alone", lora_rank=64),
    ]
    study = examine(rows)
    marks = marks_of(study)
    assert _means(rows, marks, SCORE) == pytest.approx({"Full LoRA": 0.8, "QLoRA": 0.7})
    assert {k.partition("/")[0] for k in marks["demo", "short"]} == {"selected_2"}
    assert marks["demo", "short"][selected_key(SCORE, 2)] == 0.4
    assert marks["demo", "short"]["selected_2/family"] == study.families[1].label
    assert marks["demo", "alone"][selected_key(SCORE, 3)] == 0.9
    families = selected_families(study)
    assert [(f.number, f.variants) for f in families] == [
        (1, ("Full LoRA", "QLoRA int4")),
        (2, ("Full LoRA", "QLoRA int4")),
        (3, ("Full LoRA",)),
    ]
    sections = [section.name for section in workspace.specify("v", rows, families).sections]
    compared = [name for name in sections if name.startswith("Variants compared")]
    assert compared == [f"Variants compared: {f.label}" for f in families[:2]]  # one is none


def test_an_earlier_choice_is_taken_back() -> None:
    rows = [run("full", 1e-3, 0.8), run("full", 1e-4, 0.9, selected__x=1.0)]
    rows[0] = replace(rows[0], values={**rows[0].values, selected_key(SCORE): 0.8})
    marks = marks_of(examine(rows))
    assert marks["demo", "full-0.001-0"] == {selected_key(SCORE): None}
    new = marks["demo", "full-0.0001-0"]
    assert new["selected/x"] is None
    assert new[selected_key(SCORE)] == 0.9


def test_bars_of_the_workspace_are_over_selected_runs_only() -> None:
    bars = [panel for panel in workspace.specify("v").panels() if panel.kind == "bar"]
    assert bars
    assert all(panel.y[0].startswith("selected/") for panel in bars)
    assert {panel.group_by for panel in bars} == {"variant"}


class _Summary(dict[str, Any]):
    @property
    def _json_dict(self) -> dict[str, Any]:
        return self


def test_marks_are_written_to_the_runs_and_taken_away() -> None:
    runs = {
        "me/p/a": SimpleNamespace(summary=_Summary({"x": 1})),
        "me/p/b": SimpleNamespace(summary=_Summary({"selected/x": 1})),
    }
    api = SimpleNamespace(default_entity="me", run=runs.__getitem__)
    marks: dict[tuple[str, str], dict[str, Scalar | None]]
    marks = {("p", "a"): {"selected/x": 0.5}, ("p", "b"): {"selected/x": None, "selected/y": None}}
    assert write_marks(marks, api) == 1
    assert runs["me/p/a"].summary == {"x": 1, "selected/x": 0.5}
    assert runs["me/p/b"].summary == {}
    with pytest.raises(TrackingError, match="run gone of 'p' takes no selected/ keys"):
        write_marks({("p", "gone"): {"selected/x": 1}}, api)
