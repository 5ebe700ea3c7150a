"""A LoRA layer's step as one function: y = W x + b + s B A x in the base's own dtype.

PEFT computes the adapter's products in the dtype of its weights (32 bit), with a cast of the
input and of the result, a scaling and an addition around them, each a pass over memory that
autograd keeps an operand of. Here they are what automatic mixed precision makes of them: matrices
rounded to the base's dtype, sums in 32 bit inside each product, the second product added where
the base's result lies. The weights and their gradients stay in 32 bit, and so do the optimizer
and the files. Where the base computes in 32 bit nothing is rounded.
"""

from typing import Any

import torch
from bitsandbytes import functional
from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt
from peft.tuners import lora
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

# Bytes of unpacked weights that are held on a CPU, where unpacking takes as long as a product of a
# small model; users of larger models chose 4 or 8 bits for memory, and on a GPU always.
HELD_BYTES = 1 << 30


def fuse(model: nn.Module) -> int:
    """Let every plain LoRA layer of `model` take its step in one function; how many there are.

    What has more to it (dropout, DoRA, biases that learn, other layers) stays with PEFT.
    """
    plain = [m for m in model.modules() if type(m) in _FUSED and _is_plain(m)]
    holds = sum(map(_unpacked_bytes, plain)) <= HELD_BYTES
    for module in plain:
        module.__class__ = _FUSED[type(module)]
        module.__dict__["holds_unpacked"] = holds and _unpacked_bytes(module) > 0
    return len(plain)


def _unpacked_bytes(module: Any) -> int:
    """Of a quantised layer on a CPU, in 32 bit at most; 0 for every other."""
    base = module.get_base_layer()
    is_packed = isinstance(base, Linear4bit | Linear8bitLt) and base.weight.device.type == "cpu"
    return 4 * base.in_features * base.out_features if is_packed else 0


def _is_plain(module: Any) -> bool:
    base = module.get_base_layer()
    frozen = not any(p.requires_grad for p in base.parameters())
    if type(base) not in (nn.Linear, Linear4bit, Linear8bitLt) or not frozen:
        return False
    if base is not module.base_layer or module.fan_in_fan_out or module.lora_variant:
        return False
    names = list(module.lora_A)
    return len(names) == 1 and all(
        isinstance(module.lora_dropout[name], nn.Identity)
        and type(module.lora_A[name]) is type(module.lora_B[name]) is nn.Linear
        and module.lora_A[name].bias is module.lora_B[name].bias is None
        for name in names
    )


class Fused(nn.Module):
    """Goes before a PEFT layer's class. What a call asks beyond the plain product is PEFT's."""

    holds_unpacked = False
    unpacked: torch.Tensor | None = None

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        layer: Any = self
        name = next(iter(layer.lora_A))
        is_plain = not (args or kwargs or layer.disable_adapters or layer.merged)
        if is_plain and layer.active_adapters == [name] and x.numel() and not _is_autocast(x):
            down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
            scale = layer.scaling[name]
            product: Any = _LoraProduct.apply
            result: torch.Tensor = product(x, down, up, scale, layer)
        else:
            result = super().forward(x, *args, **kwargs)
        return result

    def of_base(self, x: torch.Tensor) -> torch.Tensor:
        """What the base layer gives: a fresh tensor, with the same bits either way."""
        base: Any = self.base_layer
        held = self.unpacked
        if held is not None and held.dtype == x.dtype and self.training:
            return linear(x, held, base.bias)
        result: torch.Tensor = base(x)
        return result

    def weight_of_base(self, dtype: torch.dtype) -> torch.Tensor:
        """The base's matrix, (out, in), as its own backward pass takes it."""
        base: Any = self.base_layer
        if self.unpacked is not None and self.unpacked.dtype == dtype:
            return self.unpacked
        weight = _weight_of(base, dtype)
        if self.holds_unpacked:
            self.__dict__["unpacked"] = weight
        return weight


class _FusedLinear(Fused, lora.Linear):
    pass


class _FusedLinear4bit(Fused, lora.Linear4bit):  # type: ignore[misc]  # PEFT's is Any to mypy
    pass


class _FusedLinear8bit(Fused, lora.Linear8bitLt):  # type: ignore[misc]  # PEFT's is Any to mypy
    pass


_FUSED: dict[type[nn.Module], type[nn.Module]] = {
    lora.Linear: _FusedLinear,
    lora.Linear4bit: _FusedLinear4bit,
    lora.Linear8bitLt: _FusedLinear8bit,
}


def _is_autocast(x: torch.Tensor) -> bool:
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


class _LoraProduct(torch.autograd.Function):
    """Saves the input as it came and A x, (tokens, rank); never a copy in another dtype."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, down: torch.Tensor, up: torch.Tensor, scale: float, layer: Fused
    ) -> torch.Tensor:
        result = layer.of_base(x)
        rows, sums = x.reshape(-1, x.shape[-1]), result.view(-1, result.shape[-1])
        down, up = down.to(rows.dtype), up.to(rows.dtype)
        inner = rows @ down.t()
        torch.addmm(sums, inner, up.t(), alpha=scale, out=sums)
        ctx.save_for_backward(x, inner, down, up)
        ctx.layer, ctx.scale = layer, scale
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, inner, down, up = ctx.saved_tensors
        needs_x, needs_down, needs_up = ctx.needs_input_grad[:3]
        rows, of_result = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        of_inner = (of_result @ up).mul_(ctx.scale)
        of_up = (of_result.t() @ inner).float().mul_(ctx.scale) if needs_up else None
        of_down = (of_inner.t() @ rows).float() if needs_down else None
        of_x = None
        if needs_x:
            of_rows = of_result @ ctx.layer.weight_of_base(of_result.dtype)
            of_x = torch.addmm(of_rows, of_inner, down, out=of_rows).view(x.shape)
        return of_x, of_down, of_up, None, None


def _weight_of(layer: nn.Module, dtype: torch.dtype) -> torch.Tensor:
    packed: Any = layer.weight
    weight: torch.Tensor = packed
    if isinstance(layer, Linear4bit):
        weight = functional.dequantize_4bit(packed, packed.quant_state).to(dtype)
    elif isinstance(layer, Linear8bitLt):
        state: Any = layer.state
        steps = state.SCB.unsqueeze(1).mul(1 / 127)
        weight = state.CB.to(dtype, copy=True).mul_(steps)
    return weight
