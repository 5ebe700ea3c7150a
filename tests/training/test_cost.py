"""FLOPs against the closed formula, equal in every cell; only what was really trained counts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from agent.config.shared_devices import AGENTS_PER_GPU
from agent.programs import logged_values
from agent.training import adapters, base_model, cost
from agent.training.facts.cost_record import StepFlops
from tests.training import lab


def formula(config: Any, length: int, answer_tokens: int) -> float:
    """Forward and backward of one sequence under LoRA on a frozen base, worked out by hand.

    A frozen linear layer costs its product forward and the gradient of its input backward; where
    nothing before it is trained (query, key and value of the first layer) not even that. The
    adapter's two thin layers cost the same and their own weight gradients. Attention over the
    full length is two products forward and four backward. The output head runs on answers only.
    """
    m = AutoConfig.from_pretrained(config.base_model)
    d, inner, head = m.hidden_size, m.intermediate_size, m.hidden_size // m.num_attention_heads
    kv = m.num_key_value_heads * head
    layers = [(d, d), (d, kv), (d, kv), (d, d), (d, inner), (d, inner), (inner, d)]
    total = 0.0
    for layer in range(m.num_hidden_layers):
        for index, (fan_in, fan_out) in enumerate(layers):
            is_first = layer == 0 and index < 3
            frozen = 2 * fan_in * fan_out
            down, up = 2 * config.lora_rank * fan_in, 2 * config.lora_rank * fan_out
            total += length * (frozen * (1 if is_first else 2))
            total += length * (down * (2 if is_first else 3) + up * 3)
        total += 4 * length * length * d * 3
    return float(total + answer_tokens * 2 * m.vocab_size * d * 2)


@pytest.mark.parametrize(("length", "answers"), [(16, 4), (97, 1), (400, 399)])
def test_training_flops_are_those_of_the_closed_formula(
    tmp_path: Path, length: int, answers: int
) -> None:
    config = lab.make_config(tmp_path)
    counted = cost.measure_step_flops(config, lab.BASE_MODEL).of(1, length, answers)
    assert counted == pytest.approx(formula(config, length, answers), rel=0.02)


def test_rows_of_a_batch_add_up(tmp_path: Path) -> None:
    flops = cost.measure_step_flops(lab.make_config(tmp_path), lab.BASE_MODEL)
    assert flops.of(7, 50, 21) == pytest.approx(7 * flops.of(1, 50, 3))


def test_every_cell_of_one_shape_reports_the_same_flops(tmp_path: Path) -> None:
    found = set()
    for variant, strategy in lab.CELLS:
        config = lab.make_config(
            tmp_path, model_variant=variant, quantization_strategy=strategy, learning_rate=1e-4
        )
        found.add(cost.measure_step_flops(config, lab.BASE_MODEL))
    assert len(found) == 1


def forward_and_step(config: Any, *, trains: str) -> tuple[float, float]:
    """FLOPs of the twin's forward pass and of a whole step, for 64 tokens."""
    twin: Any = base_model.meta_twin(config, lab.BASE_MODEL, attention="eager")
    if trains == "everything":
        twin.requires_grad_(True)
    else:
        twin = adapters.attach(twin, config)
    if config.gradient_checkpointing:
        cost.enable_checkpointing(twin)
    step = cost.count_flops(twin.train(), 64, 64)
    with torch.no_grad():
        return cost.count_flops(twin, 64, 64, backward=False), step


@pytest.mark.parametrize(
    ("trains", "checkpointing", "ratio"),
    [
        ("everything", False, 3.0),  # forward, gradients of inputs, gradients of weights
        ("adapter", False, 2.0),  # frozen weights need no gradients
        ("adapter", True, 3.0),  # and the forward pass of all but the output head once more
    ],
)
def test_step_over_forward(tmp_path: Path, trains: str, checkpointing: bool, ratio: float) -> None:
    """With a rank of 1, so that the adapter itself weighs next to nothing."""
    config = lab.make_config(tmp_path, lora_rank=1, gradient_checkpointing=checkpointing)
    forward, step = forward_and_step(config, trains=trains)
    model = AutoConfig.from_pretrained(config.base_model)
    head = 64 * 2 * model.vocab_size * model.hidden_size
    expected = ratio - (head / forward if checkpointing else 0.0)
    assert step / forward == pytest.approx(expected, rel=0.05)


def test_only_batches_really_trained_are_counted_with_and_without_padding(tmp_path: Path) -> None:
    values = {"micro_batch_size": 4}
    training = lab.open_training(tmp_path, values)
    first, second = training.points()
    plan, lengths = training.plan, training.plan.lengths
    passes = [p for step in range(1, first.step + 1) for p in plan.passes(plan.batch(step))]
    assert first.cost.tokens == sum(lengths)
    assert first.cost.padded_tokens == sum(len(p) * plan.padded_length(p) for p in passes)
    assert first.cost.padded_tokens > first.cost.tokens
    assert (first.cost.samples, second.cost.samples) == (len(lengths), 2 * len(lengths))
    assert 0 < first.cost.train_seconds < second.cost.train_seconds
    assert first.cost.peak_vram_gb is None  # no such memory on a CPU
    assert first.gpu == "cpu"
    flops = cost.measure_step_flops(training.config, lab.BASE_MODEL)
    alone = [
        flops.of(1, len(s.input_ids), len(s.input_ids) - s.answer_start)
        for s in training._encoded[0]
    ]
    assert first.cost.flops == pytest.approx(sum(alone))
    assert first.cost.flops is not None
    assert first.cost.padded_flops is not None
    assert first.cost.padded_flops > first.cost.flops
    values_of = logged_values.cost_values(first)
    assert values_of["train/padding_share"] == 1 - first.cost.tokens / first.cost.padded_tokens
    assert values_of["train/total_training_flops_tflops"] == first.cost.flops / 1e12
    assert values_of["train/padded_training_flops_tflops"] == first.cost.padded_flops / 1e12


def test_an_agent_that_shares_its_gpu_claims_its_share_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(AGENTS_PER_GPU, "4")
    (first, _) = lab.open_training(tmp_path).points()
    assert first.cost.agents_on_device == 4
    assert first.cost.device_seconds == pytest.approx(first.cost.train_seconds / 4)


def test_a_run_shows_the_gpus_that_its_training_ran_on_not_its_own() -> None:
    """Read from the points: another run, on another card, may have paid for them."""
    cards = ("NVIDIA A100", "NVIDIA A100", "NVIDIA H100", None)
    points: Any = [SimpleNamespace(gpu=name) for name in cards]
    assert logged_values.trained_on(points) == "NVIDIA A100, NVIDIA H100"
    assert logged_values.trained_on(points[3:]) is None  # stored before it was recorded


def test_flops_are_counted_once_for_all_learning_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def count(config: Any, _path: Path) -> StepFlops:
        counted.append(config.lora_rank)
        return StepFlops(1.0, 2.0, 3.0)

    monkeypatch.setattr(cost, "measure_step_flops", count)
    for rank, rate in ((4, 1e-3), (4, 1e-4), (8, 1e-4)):
        training = lab.open_training(
            tmp_path, {"lora_rank": rank, "learning_rate": rate, "store": str(tmp_path / "s")}
        )
        found = cost.step_flops(
            training.config, lab.BASE_MODEL, training.identity, tmp_path / "counts"
        )
        assert found == StepFlops(1.0, 2.0, 3.0)
    assert counted == [4, 8]
