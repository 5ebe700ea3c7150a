"""The attention of a CPU's steps is the plain formula's, with and without a mask."""

from typing import Any

import pytest
import torch
from torch import nn

from agent.training import answer_loss, cost, short_attention
from tests.training.architectures import make_model, with_adapter
from tests.training.test_fused_lora import error

CAUSAL = ("qwen2", "llama", "mistral", "cohere", "granite")


def step(model: Any, *, short: bool, checkpointing: bool = False) -> dict[str, Any]:
    torch.manual_seed(1)
    ids = torch.randint(2, 200, (3, 21))
    places = torch.arange(8, 20)
    model.zero_grad()
    if checkpointing:
        cost.enable_checkpointing(model)
    if short:
        with short_attention.in_training(model):
            loss = answer_loss.forward_backward(model, ids, places, ids[0, places + 1], 0.1)
    else:
        loss = answer_loss.forward_backward(model, ids, places, ids[0, places + 1], 0.1)
    gradients = {n: p.grad.float() for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss, **gradients}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", CAUSAL)
def test_loss_and_gradients_are_those_of_the_plain_formula(kind: str, checkpointing: bool) -> None:
    """Heads that share keys and values; Mistral's window of four tokens, which is a mask."""
    model = with_adapter(make_model(kind))
    called = calls_of(model)
    expected = step(model, short=False, checkpointing=checkpointing)
    assert not called
    found = step(model, short=True, checkpointing=checkpointing)
    assert called
    assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-6)
    assert error(found, expected) < 1e-5


def calls_of(model: nn.Module) -> list[str]:
    """What is asked of the function from now on: the implementation that each layer reads."""
    called: list[str] = []

    def note(module: Any, *_: Any) -> None:
        if module.config._attn_implementation == short_attention.NAME:
            called.append(type(module).__name__)

    for name, module in model.named_modules():
        if name.endswith("self_attn"):
            module.register_forward_pre_hook(note)
    return called


def test_in_16_bit_it_rounds_no_more_than_the_plain_formula() -> None:
    model = with_adapter(make_model("qwen2"))
    exact = step(model, short=False)
    rounding = model.bfloat16()
    plain, short = step(rounding, short=False), step(rounding, short=True)
    assert 0 < error(short, exact) < 1.25 * error(plain, exact)


@pytest.mark.parametrize("kind", ["gemma2", "gpt2", "opt"])
def test_an_architecture_with_scores_of_its_own_keeps_its_attention(kind: str) -> None:
    """Capped scores in one; in all of them the loss is what it was."""
    model = with_adapter(make_model(kind))
    expected, found = step(model, short=False), step(model, short=True)
    assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-6)
    assert error(found, expected) < 1e-5


def test_outside_of_a_step_the_model_has_the_attention_it_was_loaded_with() -> None:
    model = with_adapter(make_model("qwen2"))
    settings = model.get_base_model().config
    with short_attention.in_training(model):
        assert settings._attn_implementation == short_attention.NAME
    assert settings._attn_implementation == "eager"
    fused = with_adapter(make_model("qwen2"))
    fused.get_base_model().set_attn_implementation("sdpa")
    with short_attention.in_training(fused):
        assert fused.get_base_model().config._attn_implementation == "sdpa"
