"""What a cell serves, weight by weight, against the same made by hand from base and adapter.

The bounds come from the arithmetic alone: a sum in fp32 keeps 24 bits; NF4 gives the same codes
for the same weights; LLM.int8 rounds to the nearest of 127 steps of a row's largest weight, after
one in fp16 (11 bits); bf16 keeps 8 bits of what an adapter adds and of their sum.
"""

import json
from pathlib import Path
from typing import Any

import torch
from bitsandbytes import functional
from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt
from safetensors.torch import load_file
from transformers.pytorch_utils import Conv1D

from agent.training import adapters
from agent.training.bases import linear_layers

Weights = dict[str, torch.Tensor]
FP32, BF16, FP16 = 2.0**-22, 2.0**-8, 2.0**-11


def weights_of(model: Any) -> Weights:
    """Every adapted layer's weight by name, (outputs, inputs), as what it stands for."""
    return {
        name.removesuffix(".base_layer"): _value(layer).clone()
        for name, layer in linear_layers.layers_of(model).items()
        if ".lora_" not in name
    }


def _value(layer: Any) -> torch.Tensor:
    weight = layer.weight
    if isinstance(layer, Linear4bit):
        plain: torch.Tensor = functional.dequantize_4bit(weight.data, weight.quant_state)
        return plain.float()
    if isinstance(layer, Linear8bitLt):
        scales = layer.state.SCB if layer.state.SCB is not None else weight.SCB
        codes = layer.state.CB if layer.state.CB is not None else weight.data
        return codes.float() * scales.float()[:, None] / 127
    found: torch.Tensor = weight.detach().float()
    return found.t() if isinstance(layer, Conv1D) else found


def deltas_of(adapter: Path) -> Weights:
    """What an adapter adds to each layer."""
    tensors = load_file(str(adapter / adapters.WEIGHTS))
    settings = json.loads((adapter / adapters.SETTINGS).read_text())
    scale = settings["lora_alpha"] / settings["r"]
    names = [n for n in tensors if n.endswith(".lora_A.weight")]
    return {
        name.removeprefix("base_model.model.").removesuffix(".lora_A.weight"): (
            tensors[name.replace("lora_A", "lora_B")] @ tensors[name]
        ).float()
        * scale
        for name in names
    }


def error_of(
    served: Any, plain: Weights, adapter: Path, method: str, *, is_merged: bool, bits16: bool
) -> float:
    """The largest difference of a served weight from the one made by hand, over its bound."""
    deltas = deltas_of(adapter)
    found = weights_of(served)
    assert found.keys() == plain.keys()
    worst = 0.0
    for name, weight in plain.items():
        base = weight.bfloat16().float() if bits16 else weight
        wanted = base + deltas[name] if is_merged and name in deltas else base
        if method == "nf4":
            codes, state = functional.quantize_4bit(
                wanted.contiguous(), quant_type="nf4", compress_statistics=True
            )
            wanted = functional.dequantize_4bit(codes, state)
        size = wanted.abs()
        added = deltas[name].abs() if is_merged and name in deltas else 0.0
        bound = size.max() * FP32
        if method == "llm_int8":
            bound = size.amax(1, keepdim=True) * (1 / 254 + FP16)
        elif bits16:
            bound = (size + added) * BF16 + size.max() * FP32
        worst = max(worst, float(((found[name] - wanted).abs() / bound).max()))
    return worst


def serves_the_adapter(served: Any, adapter: Path) -> bool:
    """Whether an adapter that is not merged is served as it was saved."""
    saved = load_file(str(adapter / adapters.WEIGHTS))
    held = {n.replace(".default", ""): p for n, p in served.named_parameters() if ".lora_" in n}
    return held.keys() == saved.keys() and all(
        torch.equal(held[name].float(), tensor.float()) for name, tensor in saved.items()
    )
