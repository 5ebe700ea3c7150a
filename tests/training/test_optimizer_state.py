"""AdamW is torch's own choice of kernel, and its step counter stays where reading it is free."""

from pathlib import Path
from typing import Any

import pytest
import torch

from agent.training import optimizer_state
from tests.training import lab


def make(root: Path, device: str, **values: Any) -> tuple[torch.optim.Optimizer, torch.Tensor]:
    weight = torch.nn.Parameter(torch.ones(4, device=device))
    return optimizer_state.make_optimizer(lab.make_config(root, **values), [weight]), weight


def test_the_kernel_is_torchs_choice_unless_fused_is_asked_for(tmp_path: Path) -> None:
    plain, _ = make(tmp_path, "cpu")
    group = plain.param_groups[0]
    assert group["foreach"] is None  # False would be the loop over single tensors
    assert group["fused"] is None
    fused, _ = make(tmp_path, "cpu", optimizer="adamw_fused")
    assert fused.param_groups[0]["fused"] is True


@pytest.mark.parametrize("kind", ["adamw", "adamw_fused"])
def test_a_resumed_optimizer_makes_the_same_steps(tmp_path: Path, kind: str) -> None:
    first, weight = make(tmp_path, "cpu", optimizer=kind)
    weight.grad = torch.full_like(weight, 0.5)
    first.step()
    second, other = make(tmp_path, "cpu", optimizer=kind)
    optimizer_state.restore_optimizer(second, *optimizer_state.optimizer_state(first))
    other.data.copy_(weight.data)
    for optimizer, tensor in ((first, weight), (second, other)):
        tensor.grad = torch.full_like(tensor, 0.25)
        optimizer.step()
    assert torch.equal(weight, other)


def test_after_a_resume_moments_lie_beside_the_weights_and_step_on_the_cpu(tmp_path: Path) -> None:
    """Weights on a device that is not the CPU; here the one that has no memory."""
    saved, weight = make(tmp_path, "cpu")
    weight.grad = torch.ones_like(weight)
    saved.step()
    resumed, elsewhere = make(tmp_path, "meta")
    optimizer_state.restore_optimizer(resumed, *optimizer_state.optimizer_state(saved))
    state = resumed.state[elsewhere]
    assert state["exp_avg"].device.type == "meta"
    assert state["step"].device.type == "cpu"
    assert float(state["step"]) == 1.0
