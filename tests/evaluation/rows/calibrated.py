"""A deployment that calibrates: 4-bit rounding that spares the inputs the data use most."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from agent.config.variants import Variant
from agent.evaluation import deployments
from agent.training import prompts
from agent.training.base_model import Base
from agent.training.data_formats import Example


def build(base: Base, adapter: Path, variant: Variant, calibration: Sequence[Example]) -> nn.Module:
    merged = deployments.BUILDERS["merged"](base, adapter, variant, ())
    seen: dict[nn.Module, torch.Tensor] = {}

    def note(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        most = inputs[0].detach().abs().amax(dim=(0, 1))
        seen[layer] = torch.maximum(seen.get(layer, most), most)

    linears = [m for n, m in merged.named_modules() if type(m) is nn.Linear and n != "lm_head"]
    hooks = [layer.register_forward_pre_hook(note) for layer in linears]
    for example in calibration[:8]:
        ids = prompts.prompt_ids(base.tokenizer, example.messages)
        merged(input_ids=torch.tensor([ids], device=base.device))
    for hook, layer in zip(hooks, linears, strict=True):
        hook.remove()
        scale = seen[layer].clamp(min=1e-4).sqrt()
        weight = layer.weight.data * scale
        step = weight.abs().amax(dim=1, keepdim=True) / 7
        layer.weight.data = (weight / step).round() * step / scale
    return merged


ROW = Variant("LoRA+PTQ", "int4", "16bit", "calibrated", "aware4")
deployments.register(ROW, build)
