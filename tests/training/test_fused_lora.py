"""The fused LoRA step is PEFT's: to the last bits in 32 bit, and no less exact in 16 bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from agent.training import adapters, answer_loss, base_model, cost, fused_lora
from agent.training.fused_lora import Fused
from tests.training import lab
from tests.training.architectures import make_model, with_adapter

BASES = {"16bit": ("Full LoRA", "None"), "nf4": ("QLoRA", "int4"), "llm_int8": ("QLoRA", "int8")}


def gradients_of_a_step(root: Path, kind: str, dtype: str, **values: Any) -> dict[str, Any]:
    """Loss and gradients of two passes through the demo's base under an adapter that speaks."""
    variant, strategy = BASES[kind]
    cell = {"model_variant": variant, "quantization_strategy": strategy, "compute_dtype": dtype}
    config = lab.make_config(root, lora_dropout=0.0, **cell, **values)
    precision = config.variant.training_precision
    base = base_model.load(config, lab.BASE_MODEL, precision, torch.device("cpu"))
    model = adapters.attach(base.model, config)
    if config.gradient_checkpointing:
        cost.enable_checkpointing(model)
    weights = adapters.weights(model)
    for name, weight in weights.items():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.05)
    model.train()
    found: dict[str, Any] = {"loss": torch.zeros(())}
    for rows, length in ((3, 21), (5, 16)):
        ids = torch.randint(2, 900, (rows, length))
        places = torch.arange(length // 2, length - 1)
        targets = ids[0, places + 1]
        found["loss"] += answer_loss.forward_backward(model, ids, places, targets, 0.1)
    return found | {name: weight.grad for name, weight in weights.items()}


def error(found: dict[str, Any], exact: dict[str, Any]) -> float:
    """Distance of all gradients over their length."""
    names = [name for name in exact if name != "loss"]
    assert all(found[name].dtype == torch.float32 for name in names)
    distance = sum(float((found[name] - exact[name]).square().sum()) for name in names)
    return float((distance / sum(float(exact[name].square().sum()) for name in names)) ** 0.5)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", BASES)
def test_loss_and_gradients_are_those_of_peft(
    kind: str, checkpointing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(dtype: str) -> dict[str, Any]:
        return gradients_of_a_step(tmp_path, kind, dtype, gradient_checkpointing=checkpointing)

    fused, rounded = step("float32"), step("bfloat16")
    monkeypatch.setattr(fused_lora, "fuse", lambda _: 0)
    exact, rounded_by_peft = step("float32"), step("bfloat16")
    assert set(fused) == set(exact) == set(rounded)
    assert float(fused["loss"]) == pytest.approx(float(exact["loss"]), rel=1e-6)
    assert error(fused, exact) < 1e-5
    assert float(rounded["loss"]) == pytest.approx(float(exact["loss"]), rel=1e-2)
    assert 0 < error(rounded, exact) < 1.25 * error(rounded_by_peft, exact)


@pytest.mark.parametrize("kind", ["nf4", "llm_int8"])
def test_unpacked_weights_are_held_where_they_are_small_and_change_no_bit(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds: list[bool] = []
    real = fused_lora.fuse

    def fuse(model: nn.Module) -> int:
        count = real(model)
        holds.append(all(m.holds_unpacked for m in model.modules() if isinstance(m, Fused)))
        return count

    monkeypatch.setattr(fused_lora, "fuse", fuse)
    held = gradients_of_a_step(tmp_path, kind, "bfloat16")
    monkeypatch.setattr(fused_lora, "HELD_BYTES", 1000)
    unpacked_each_time = gradients_of_a_step(tmp_path, kind, "bfloat16")
    assert holds == [True, False]
    assert all(torch.equal(held[name], unpacked_each_time[name]) for name in held)


def test_a_training_fuses_every_layer_of_its_adapter(tmp_path: Path) -> None:
    config = lab.make_config(tmp_path, lora_dropout=0.0)
    base = base_model.load(config, lab.BASE_MODEL, "16bit", torch.device("cpu"))
    model = adapters.attach(base.model, config)
    layers = [m for m in model.modules() if hasattr(m, "lora_A")]
    assert len(layers) == 3 * 7
    assert all(isinstance(layer, Fused) for layer in layers)
    assert fused_lora.fuse(model) == 0  # nothing is left to be done


def test_what_is_no_plain_lora_stays_with_peft() -> None:
    dropout = get_peft_model(
        make_model("qwen2"), LoraConfig(target_modules="all-linear", lora_dropout=0.1)
    )
    dora = get_peft_model(
        make_model("qwen2"), LoraConfig(target_modules="all-linear", use_dora=True)
    )
    transposed = with_adapter(make_model("gpt2"))
    assert [fused_lora.fuse(model) for model in (dropout, dora, transposed)] == [0, 0, 0]


def test_what_is_asked_beyond_the_product_is_answered_by_peft() -> None:
    """Adapters switched off, merged, and more than one."""
    model = with_adapter(make_model("qwen2"))
    ids = torch.arange(20)[None]

    def said() -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
        return logits

    adapted = said()
    with model.disable_adapter():
        plain = said()
    assert fused_lora.fuse(model) == 2 * 7
    torch.testing.assert_close(said(), adapted)
    with model.disable_adapter():
        assert torch.equal(said(), plain)
    model.merge_adapter()
    torch.testing.assert_close(said(), adapted, atol=1e-5, rtol=1e-4)
    model.unmerge_adapter()
    torch.manual_seed(5)
    model.add_adapter("second", LoraConfig(target_modules="all-linear", init_lora_weights=False))
    torch.testing.assert_close(said(), adapted, atol=1e-5, rtol=1e-4)
    model.set_adapter("second")
    assert not torch.allclose(said(), adapted)


def test_no_copy_of_the_input_is_kept_for_the_backward_pass() -> None:
    linear = nn.Linear(32, 48, bias=False, dtype=torch.bfloat16).requires_grad_(False)
    model = get_peft_model(nn.Sequential(linear), LoraConfig(r=4, target_modules=["0"]))
    assert fused_lora.fuse(model) == 1
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    x = torch.randn(10, 32, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(x)
    assert sorted(tuple(t.shape) for t in kept) == [(4, 32), (10, 4), (10, 32), (48, 4)]
    assert any(t.data_ptr() == x.data_ptr() for t in kept)
