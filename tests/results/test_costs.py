from typing import Any

import pytest

from agent.results import costs
from agent.results.columns import find
from tests.results.known_table import known_rows, pruned, run

KEYS: dict[str, Any] = {
    "inference__avg_latency_ms_per_sample": 10.0,
    "inference__model_size_gb": 2.0,
    "train__peak_vram_gb": 8.0,
}


def _gains(**treated: Any) -> dict[str, costs.Gain]:
    mine = run("qlora4", 1e-3, 0.5, **{**KEYS, **treated})
    theirs = run("full", 1e-3, 0.5, hardware__gpu="H100", **KEYS)
    return {gain.column.key: gain for gain in costs.gains([mine], [theirs])}


def test_gains_are_ratios_within_one_gpu_type() -> None:
    found = _gains(hardware__gpu="H100", inference__avg_latency_ms_per_sample=20.0)
    assert found["inference/avg_latency_ms_per_sample"].ratio == 0.5
    assert found["inference/avg_latency_ms_per_sample"].note == "H100"
    assert found["train/peak_vram_gb"].ratio == 1.0


def test_another_gpu_leaves_times_and_memory_blank_but_not_size() -> None:
    found = _gains(hardware__gpu="A100", inference__model_size_gb=0.5)
    assert found["inference/avg_latency_ms_per_sample"].ratio is None
    assert found["train/peak_vram_gb"].note == "no shared GPU type: A100 against Full LoRA on H100"
    assert found["inference/model_size_gb"].ratio == 4.0


def test_an_unstated_gpu_is_not_taken_for_the_same() -> None:
    assert _gains()["train/peak_vram_gb"].ratio is None


def test_another_micro_batch_leaves_training_costs_blank_but_not_inference() -> None:
    found = _gains(hardware__gpu="H100", micro_batch_size=2)
    assert found["train/peak_vram_gb"].ratio is None
    assert found["train/peak_vram_gb"].note == (
        "training costs not compared: micro_batch_size 2 against None"
    )
    assert found["inference/avg_latency_ms_per_sample"].ratio == 1.0


def test_a_missing_metric_is_no_gain() -> None:
    gain = _gains(hardware__gpu="H100")["inference/flops_per_query_gflops"]
    assert (gain.ratio, gain.note) == (None, "")


def test_gpu_time_is_the_sum_of_what_each_run_spent_itself() -> None:
    found = costs.spending(known_rows())
    assert found.own_s == 18 * 60 + 2 * 20
    assert found.runs_without_cost == 0
    assert found.pruned_runs == 2
    assert found.pruning_saved_s == 2 * 40  # 20 s for one of three epochs, twice


def test_a_shared_training_is_counted_once_and_its_saving_reported() -> None:
    shared: dict[str, Any] = {"training__key": "k", "train__gpu_seconds": 90.0}
    rows = [
        run("full", 1e-3, 0.5, train__own_gpu_seconds=90.0, **shared),
        run("ptq8", 1e-3, 0.5, train__own_gpu_seconds=5.0, train__reused_from="a", **shared),
        run("ptq4", 1e-3, 0.5, train__own_gpu_seconds=0.0, train__reused_from="a", **shared),
    ]
    found = costs.spending(rows)
    assert (found.own_s, found.sharing_saved_s, found.shared_runs) == (95.0, 180.0, 2)


def test_a_shared_training_is_paid_up_to_its_longest_run() -> None:
    key: dict[str, Any] = {"training__key": "k"}
    rows = [
        pruned("full", 1e-3, ((1.0, 0.1),), train__gpu_seconds=30.0, **key),
        run("ptq8", 1e-3, 0.5, train__gpu_seconds=90.0, train__reused_from="a", **key),
        run("ptq4", 1e-4, 0.5, train__gpu_seconds=70.0, training__key="other"),
    ]
    assert costs.spending(rows).sharing_saved_s == 30.0


def test_a_training_that_two_runs_paid_for_saved_nothing() -> None:
    key: dict[str, Any] = {"training__key": "k", "train__gpu_seconds": 90.0}
    rows = [run("full", 1e-3, 0.5, **key), run("ptq8", 1e-3, 0.5, **key)]
    assert costs.spending(rows).sharing_saved_s is None


def test_on_a_cpu_nothing_is_called_gpu_time() -> None:
    row = run("full", 1e-3, 0.5, hardware__gpu="cpu", train__own_gpu_seconds=90.0)
    (sentence,) = costs.spending_sentences(costs.spending([row]))
    assert sentence.startswith("1.5 min of device time spent")


def test_a_training_that_another_run_carried_on_was_not_cut_short() -> None:
    key: dict[str, Any] = {"training__key": "k"}
    cut = pruned("full", 1e-3, ((1.0, 0.1),), train__own_gpu_seconds=10.0, **key)
    assert costs.spending([cut]).pruning_saved_s == 20.0
    assert costs.spending([cut, run("ptq8", 1e-3, 0.5, **key)]).pruning_saved_s is None


def test_steps_trained_past_the_last_point_are_not_saved() -> None:
    """One of three epochs took 20 s; it was stopped after half of the second."""
    cut = pruned("full", 1e-3, ((1.0, 0.1),), train__gpu_seconds=20.0, epoch=1.5)
    assert costs.spending([cut]).pruning_saved_s == 30.0
    cut = pruned("full", 1e-3, ((1.0, 0.1),), train__gpu_seconds=20.0, stopped__trained_epochs=2.0)
    assert costs.spending([cut]).pruning_saved_s == 20.0
    key: dict[str, Any] = {"training__key": "k", "train__gpu_seconds": 20.0}
    rows = [
        pruned("full", 1e-3, ((1.0, 0.1),), **key),
        pruned("ptq8", 1e-3, ((1.0, 0.1),), epoch=1.75, **key),
    ]
    assert costs.spending(rows).pruning_saved_s == 25.0


def test_unknown_costs_are_said_to_be_unknown() -> None:
    found = costs.spending([run("full", 1e-3, 0.5)])
    assert (found.own_s, found.runs_without_cost) == (None, 1)
    assert costs.spending_sentences(found) == ("GPU time was not recorded by these runs.",)


def test_the_sentences_name_spent_saved_and_estimated() -> None:
    text = " ".join(costs.spending_sentences(costs.spending(known_rows())))
    assert "18.7 min of GPU time spent" in text
    assert "(H100: 18.0 min, GPU not stated: 40.0 s)" in text
    assert "Pruning saved about 1.3 min of training (2 runs pruned" in text


def test_the_mean_of_nothing_is_missing() -> None:
    assert costs.mean_of([run("full", 1e-3, 0.5)], "train/peak_vram_gb") is None
    assert costs.mean_of(known_rows(), "inference/model_size_gb", "H100") == pytest.approx(17 / 18)


def test_seconds_by_gpu() -> None:
    assert costs.costs_by_gpu(known_rows()) == {"H100": 1080.0, "GPU not stated": 40.0}


def test_inference_belongs_to_the_gpu_it_was_measured_on() -> None:
    def gain(mine: str, theirs: str) -> costs.Gain:
        on = {"hardware__gpu": "H100", **KEYS}
        treated = run("qlora4", 1e-3, 0.5, inference__gpu=mine, **on)
        baseline = run("full", 1e-3, 0.5, inference__gpu=theirs, **on)
        found = {gain.column.key: gain for gain in costs.gains([treated], [baseline])}
        assert found["train/peak_vram_gb"].ratio == 1.0  # both trained on the same
        return found["inference/avg_latency_ms_per_sample"]

    assert gain("L4", "L4").ratio == 1.0
    assert gain("L4", "T4").ratio is None
    assert gain("L4", "T4").note == "no shared GPU type: L4 against Full LoRA on T4"


def test_costs_per_answer_are_compared_between_answers_of_one_length_only() -> None:
    def sides(tokens: float) -> dict[str, costs.Gain]:
        base = run("full", 1e-3, 0.5, inference__tokens_out=12.0, **MEASURED)
        other = run("qlora4", 1e-3, 0.5, inference__tokens_out=tokens, **MEASURED)
        return {gain.column.key: gain for gain in costs.gains([other], [base])}

    assert sides(11.0)["inference/avg_latency_ms_per_sample"].ratio == 1.0
    short = sides(1.9)
    assert short["inference/avg_latency_ms_per_sample"].ratio is None
    assert "answers of 1.9 against 12 tokens" in short["inference/avg_latency_ms_per_sample"].note
    assert short["inference/time_per_output_token_ms"].ratio == 1.0


def test_a_cost_belongs_to_one_type_of_gpu_and_another_is_named() -> None:
    column = find("inference/avg_latency_ms_per_sample")
    rows = [
        run("full", 1e-3, 0.5, seed=s, inference__gpu=g, inference__avg_latency_ms_per_sample=v)
        for s, (g, v) in enumerate([("A100", 10.0), ("A100", 20.0), ("H100", 1.0)])
    ]
    assert costs.reference_gpu(rows, column) == "A100"
    assert costs.cost_of(rows, column, "A100") == costs.Cost(15.0)
    assert costs.cost_of(rows[2:], column, "A100") == costs.Cost(1.0, "H100")
    assert costs.cost_of([run("full", 1e-3, 0.5)], column, "A100") is None


MEASURED: dict[str, Any] = {
    "inference__gpu": "A100",
    "inference__avg_latency_ms_per_sample": 10.0,
    "inference__time_per_output_token_ms": 3.0,
}
