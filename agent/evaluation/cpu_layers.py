"""Layers for answering many prompts on a CPU: the very values of those they stand for, sooner.

bitsandbytes' CPU paths are made of many small operations: a 4-bit weight is unpacked at every
call, an LLM.int8 layer passes over its input a dozen times, and so does PEFT's adapter beside it.
What follows does the same arithmetic, in the same order and rounding, so that every output has the
same bits (tested). The inference benchmark never uses it: it measures the libraries' own kernels.
"""

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt
from peft.tuners.lora import bnb as lora_on_quantised
from torch import nn
from torch.nn import functional

from agent.training.fused_lora import HELD_BYTES

# bitsandbytes' 1 / 127², as it writes it.
PER_PRODUCT = 6.200124e-05

Forward = Callable[[torch.Tensor], torch.Tensor]


def hasten(model: nn.Module) -> None:
    """Give the quantised and adapted layers of a deployment on a CPU their faster forward, which
    has no gradients. Layers on other devices, and all of other kinds, stay as they are.

    Base layers are shared with the training: a copy of the object (not of its weights) takes the
    place of each.
    """
    shared = _LastInput()
    holds_unpacked = _unpacked_bytes(model) <= HELD_BYTES
    for name, layer in list(model.named_modules()):
        if faster := _quantised_forward(layer, shared, holds_unpacked):
            own = copy.copy(layer)
            own.__dict__["forward"] = faster
            model.set_submodule(name, own)
    for layer in model.modules():
        if _is_plain_lora(layer):
            layer.__dict__["forward"] = _adapted_forward(layer, shared)


class _LastInput:
    """What was made of the newest input: the layers of one block (query, key and value; gate and
    up) read the same one after the other."""

    def __init__(self) -> None:
        self._x: torch.Tensor | None = None
        self._made: dict[str, Any] = {}

    def once(self, name: str, x: torch.Tensor, make: Callable[[torch.Tensor], Any]) -> Any:
        if self._x is not x:
            self._x, self._made = x, {}
        if name not in self._made:
            self._made[name] = make(x)
        return self._made[name]


def _unpacked_bytes(model: nn.Module) -> int:
    layers: list[Any] = [layer for layer in model.modules() if type(layer) is Linear4bit]
    return sum(
        layer.in_features * layer.out_features * (layer.compute_dtype or torch.float32).itemsize
        for layer in layers
    )


def _quantised_forward(layer: Any, shared: _LastInput, holds_unpacked: bool) -> Forward | None:
    if type(layer) not in (Linear4bit, Linear8bitLt) or layer.weight.device.type != "cpu":
        return None
    if type(layer) is Linear8bitLt:
        return None if layer.state.has_fp16_weights else _int8_forward(layer, shared)
    return _four_bit_forward(layer) if holds_unpacked else None


# ---------------------------------------------------------------------- 4 bits
def _four_bit_forward(layer: Any) -> Forward | None:
    """Unpacked once. None where the layer would convert at every call."""
    state, dtype = layer.weight.quant_state, layer.compute_dtype
    is_packed_as_usual = not getattr(state, "packing_format_for_cpu", False)
    if state is None or not is_packed_as_usual or state.dtype != dtype or len(state.shape) != 2:
        return None
    if tuple(state.shape) != (layer.out_features, layer.in_features):
        return None
    weight = dequantize_4bit(layer.weight.data.view(-1, 1), state)
    bias = None if layer.bias is None else layer.bias.to(dtype)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x.to(dtype), weight, bias).to(x.dtype)

    return forward


# ---------------------------------------------------------------------- LLM.int8
def _int8_forward(layer: Any, shared: _LastInput) -> Forward:
    """Row-wise quantised inputs, outlier columns apart (arXiv 2208.07339)."""
    if layer.weight.CB is not None:
        layer.init_8bit_state()
    weight, columns, threshold = layer.state.CB, layer.state.SCB, layer.state.threshold
    bias = layer.bias

    def forward(x: torch.Tensor) -> torch.Tensor:
        read: _QuantisedRows = shared.once(
            f"int8 {threshold}", x, lambda x: _quantise_rows(x.reshape(-1, x.shape[-1]), threshold)
        )
        products = torch.ops.bitsandbytes.int8_linear_matmul.default(read.whole, weight)
        out: torch.Tensor = read.largest[:, None] * columns
        out.mul_(products).mul_(PER_PRODUCT)
        if bias is not None:
            out.add_(bias.to(x.dtype))
        out = out.to(x.dtype)
        if read.outliers is not None and read.apart is not None:
            unpacked = torch.ops.bitsandbytes.int8_vectorwise_dequant.default(
                weight.index_select(1, read.outliers), columns
            )
            out.addmm_(read.apart, unpacked.to(x.dtype).t())
        return out.reshape(*x.shape[:-1], weight.shape[0])

    return forward


class _QuantisedRows(NamedTuple):
    """Rows as int8, with the largest absolute value of each. Columns that hold outliers are 0 in
    them and kept apart in the input's dtype; without outliers both fields are None."""

    whole: torch.Tensor
    largest: torch.Tensor
    outliers: torch.Tensor | None = None
    apart: torch.Tensor | None = None


def _quantise_rows(rows: torch.Tensor, threshold: float) -> _QuantisedRows:
    """Outliers are values from `threshold` on: a row's largest value is that of its others."""
    values = rows.float().to(torch.float16).float()
    sizes = values.abs()
    largest = sizes.amax(dim=1)
    outliers = apart = None
    if threshold > 0 and not bool((largest < threshold).all()):  # with NaN, too
        outliers = (sizes.amax(dim=0) < threshold).logical_not().nonzero().view(-1)
        columns = sizes.index_select(1, outliers)
        is_outlier = columns >= threshold
        has_outlier = is_outlier.any(dim=0)
        outliers, columns = outliers[has_outlier], columns.masked_fill_(is_outlier, 0)
        apart = rows.index_select(1, outliers)
        values.index_fill_(1, outliers, 0)
        largest = torch.maximum(values.abs().amax(dim=1), columns.amax(dim=1))
    whole = values.mul_((127.0 / largest)[:, None]).round_().to(torch.int8)
    return _QuantisedRows(whole, largest, outliers, apart)


# ---------------------------------------------------------------------- adapters
def _is_plain_lora(layer: Any) -> bool:
    """One adapter beside a quantised layer and nothing else: no variant such as DoRA."""
    if type(layer) not in (lora_on_quantised.Linear4bit, lora_on_quantised.Linear8bitLt):
        return False
    names = layer.active_adapters
    if len(names) != 1 or layer.disable_adapters or layer.merged or layer.training:
        return False
    (name,) = names
    factors = layer.lora_A, layer.lora_B
    return (
        all(name in factor and type(factor[name]) is nn.Linear for factor in factors)
        and all(factor[name].bias is None for factor in factors)
        and name not in layer.lora_variant
        and factors[0][name].weight.device.type == "cpu"
    )


def _adapted_forward(layer: Any, shared: _LastInput) -> Forward:
    (name,) = layer.active_adapters
    down, up, scaling = (
        layer.lora_A[name].weight,
        layer.lora_B[name].weight.detach(),
        layer.scaling[name],
    )
    # Powers of two scale without rounding, before as after.
    is_exact = math.frexp(scaling)[0] == 0.5
    up = up * scaling if is_exact else up
    base = layer.base_layer

    def forward(x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = base(x)
        wide = shared.once("wide", x, lambda x: x.to(down.dtype))
        update = functional.linear(functional.linear(wide, down), up)
        if not is_exact:
            update.mul_(scaling)
        return out.add_(update.to(out.dtype))

    return forward
