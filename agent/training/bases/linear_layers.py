"""The layers of a language model that an adapter or a quantisation has to reach, and quantisers.

What counts is the decoder that reads text: vision and audio towers, their projectors and the
output head are neither adapted nor quantised. Experts of a mixture lie in one 3-D parameter for
all of a layer's experts; they are named here, since no class of layer gives them away.
"""

from collections.abc import Callable
from typing import Any

import torch
from bitsandbytes.nn.modules import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from torch import nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd
from transformers.pytorch_utils import Conv1D

Quantiser = Callable[[Any], nn.Module]  # a linear layer in, its replacement out
QUANTISED = (Linear4bit, Linear8bitLt)


def decoder_of(model: Any) -> tuple[str, nn.Module]:
    """The text decoder of a causal language model and its name inside the model."""
    decoder = model.get_decoder()
    for name, module in model.named_modules():
        if module is decoder:
            return name, decoder
    return "", model


def layers_of(model: Any) -> dict[str, nn.Module]:
    """Linear layers of the decoder by name, quantised or not, without the output head."""
    prefix, decoder = decoder_of(model)
    head = model.get_output_embeddings()
    return {
        f"{prefix}.{name}" if prefix else name: layer
        for name, layer in decoder.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer is not head
    }


def layers_outside(model: Any) -> list[str]:
    """Linear layers that read no text: those of towers and projectors beside the decoder."""
    inside, head = layers_of(model), model.get_output_embeddings()
    return [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer is not head and name not in inside
    ]


def expert_parameters(model: Any) -> list[str]:
    """Names of the decoder's 3-D parameters: the experts of a mixture, each a stack of matrices."""
    prefix, decoder = decoder_of(model)
    return [
        ".".join(filter(None, (prefix, name, own)))
        for name, module in decoder.named_modules()
        if not isinstance(module, _ConvNd)
        for own, parameter in module.named_parameters(recurse=False)
        if parameter.ndim == 3 and min(parameter.shape) > 1
    ]


def is_plain(layer: nn.Module) -> bool:
    """True for what computes x W + b and nothing else: nn.Linear, Conv1D, or a subclass that gives
    the same as nn.Linear on random inputs (such as Falcon's)."""
    if type(layer) in (nn.Linear, Conv1D):
        return True
    if not isinstance(layer, nn.Linear) or isinstance(layer, QUANTISED):
        return False
    weight, bias = layer.weight, layer.bias
    if weight.is_meta:
        return True
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, layer.in_features, generator=generator).to(weight.device, weight.dtype)
    with torch.no_grad():
        found, plain = layer(x), functional.linear(x, weight, bias)
    return isinstance(found, torch.Tensor) and torch.allclose(found, plain, rtol=1e-2, atol=1e-3)


def weights_in(layer: nn.Module) -> int:
    """Weights of a linear layer, however they are packed."""
    if isinstance(layer, nn.Linear):
        return int(layer.in_features * layer.out_features)
    weight: Any = layer.weight
    return int(weight.numel())


# ---------------------------------------------------------------------- quantisers
def as_linear(layer: Any) -> nn.Linear:
    """The layer as nn.Linear: GPT-2's Conv1D holds its matrix the other way round."""
    if type(layer) is nn.Linear:
        return layer
    weight = layer.weight.detach()
    weight = weight.t().contiguous() if isinstance(layer, Conv1D) else weight
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    linear.bias = layer.bias
    return linear


def to_nf4(layer: nn.Module) -> nn.Module:
    """NF4 with double quantisation, computing in the layer's own dtype."""
    linear = as_linear(layer)
    weight = linear.weight.detach()
    quantised = Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=weight.dtype,
        compress_statistics=True,
        quant_type="nf4",
        device="meta",
    )
    weights: Any = Params4bit(
        weight.cpu().contiguous(),
        requires_grad=False,
        compress_statistics=True,
        quant_type="nf4",
        module=quantised,
    )
    quantised.weight = weights.to(weight.device)
    quantised.bias = linear.bias
    return quantised


def to_llm_int8(layer: nn.Module) -> nn.Module:
    """LLM.int8 with outlier threshold 6, as transformers loads it."""
    linear = as_linear(layer)
    weight = linear.weight.detach()
    quantised = Linear8bitLt(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        has_fp16_weights=False,
        threshold=6.0,
        device="meta",
    )
    weights: Any = Int8Params(
        weight.cpu().contiguous(), requires_grad=False, has_fp16_weights=False
    )
    quantised.weight = weights.to(weight.device)
    quantised.bias = linear.bias
    return quantised


QUANTISERS: dict[str, Quantiser] = {"nf4": to_nf4, "llm_int8": to_llm_int8}


def quantise_plain(model: Any, quantise: Quantiser) -> None:
    """Quantise every plain linear layer of the decoder that still has its precision."""
    for name, layer in _unquantised(model):
        if is_plain(layer):
            model.set_submodule(name, quantise(layer))


def _unquantised(model: Any) -> list[tuple[str, nn.Module]]:
    return [
        (name, layer)
        for name, layer in layers_of(model).items()
        if not isinstance(layer, QUANTISED)
    ]


def share_quantised(model: Any) -> float:
    """Weights held in 4 or 8 bit over all weights of the decoder's linear layers and experts."""
    return _share(model, lambda layer: isinstance(layer, QUANTISED))


def share_quantisable(model: Any) -> float:
    """The share that quantising every plain linear layer would reach."""
    return _share(model, is_plain)


def _share(model: Any, counts: Callable[[nn.Module], bool]) -> float:
    layers = layers_of(model)
    parameters = dict(model.named_parameters())
    experts = sum(parameters[name].numel() for name in expert_parameters(model))
    total = sum(map(weights_in, layers.values())) + experts
    held = sum(weights_in(layer) for layer in layers.values() if counts(layer))
    return held / total if total else 0.0
