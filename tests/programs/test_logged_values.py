"""Which keys a complete run carries and which a pruned one: a mean over `final/…` meets no pruned
run, however they are grouped."""

from types import SimpleNamespace
from typing import Any

import pytest

from agent.programs.logged_values import final_values
from agent.results.run_table import Row


def _cost() -> Any:
    known = dict.fromkeys(
        ("flops", "padded_flops", "energy_joules", "peak_reserved_gb", "agents_on_device")
    )
    numbers = dict.fromkeys(
        ("train_seconds", "samples", "tokens", "padded_tokens", "device_seconds", "save_seconds"), 1
    )
    return SimpleNamespace(**known, **numbers, peak_vram_gb=24.0, flops_left_out="experts")


def _values(*, is_pruned: bool) -> dict[str, object]:
    point: Any = SimpleNamespace(
        epoch=1.0, step=10, digest="d", run_id="r", gpu="H100", cost=_cost(), losses=()
    )
    metrics = {"accuracy": 0.25, "f1_score": 0.5, "avg_f1": 0.4, "f1_nq": 0.4}
    scores: Any = SimpleNamespace(metrics=lambda: dict(metrics), model_size_gb=2.0, too_long=0)
    return final_values([point], scores, "r", 0.0, is_pruned=is_pruned)


def test_a_complete_run_has_final_values() -> None:
    values = _values(is_pruned=False)
    assert (values["final/validation_f1_score"], values["final/f1_nq"]) == (0.5, 0.4)
    assert (values["final/step"], values["final/point_digest"]) == (10, "d")
    assert not [key for key in values if key.startswith("stopped/")]


def test_a_run_says_why_its_flops_are_not_counted() -> None:
    assert _values(is_pruned=False)["train/flops_left_out"] == "experts"


def test_a_pruned_run_has_the_same_under_stopped() -> None:
    values = _values(is_pruned=True)
    assert not [key for key in values if key.startswith("final/")]
    whole = _values(is_pruned=False)
    assert {k.replace("stopped/", "final/"): v for k, v in values.items()} == whole


def test_a_report_finds_where_a_pruned_run_ended() -> None:
    known = {k: v for k, v in _values(is_pruned=True).items() if isinstance(v, int | float | str)}
    row = Row("r", "finished", {**known, "stopped/rung": 1}, tags=frozenset({"pruned"}))
    assert (row.epochs_run, row.curve()) == (1.0, ((1.0, 0.5),))
    assert row.number("final/validation_f1_score") is None


def test_gib_stand_beside_gb() -> None:
    values = _values(is_pruned=False)
    assert values["train/peak_vram_gb"] == 24.0
    assert values["train/peak_vram_gib"] == pytest.approx(24e9 / 2**30)
    assert values["inference/model_size_gib"] == pytest.approx(2e9 / 2**30)
