"""Causal attention over short sequences on a CPU, as one function.

The plain formula (scores, mask, softmax in 32 bit, weights times values) makes a dozen passes over
matrices of scores, each in memory of its own, and repeats keys and values for every head that
shares them; torch's fused kernel has a backward pass on a CPU that takes longer still. Here the
same products are made with the heads that share keys and values beside each other, and what lies
between them happens in place. The weights are rounded to the model's dtype before they meet the
values, as in the plain formula.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from agent.training import adapters

NAME = "short_causal"


@contextmanager
def in_training(model: nn.Module) -> Iterator[None]:
    """Steps of `model` take this function where its architecture is right under torch's fused
    attention, which has the same formula, and where it now has the plain one, on a CPU."""
    plain = _fitting(model)
    if plain is None:
        yield
        return
    settings = plain.config.get_text_config()
    settings._attn_implementation = NAME
    try:
        yield
    finally:
        settings._attn_implementation = "eager"


def _fitting(model: nn.Module) -> PreTrainedModel | None:
    plain = adapters.without_adapter(model)
    if not isinstance(plain, PreTrainedModel) or plain.device.type != "cpu":
        return None
    settings = plain.config
    is_text = settings.get_text_config() is settings
    is_right = plain._supports_sdpa and plain._supports_attention_backend
    caps = getattr(settings, "attn_logit_softcapping", None) is not None
    is_plain = settings._attn_implementation == "eager"
    return plain if is_text and is_right and is_plain and not caps else None


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Shapes (rows, heads, tokens, width). Anything but whole causal rows is the library's."""
    asked = (kwargs.get(name) for name in ("position_bias", "softcap", "s_aux", "cache"))
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    is_square = query.shape[2] == key.shape[2] and key.shape[-1] == value.shape[-1]
    if dropout or not causal or not is_square or any(found is not None for found in asked):
        said: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **kwargs
        )
        return said
    product: Any = _CausalAttention.apply
    mask = _added(attention_mask, query.shape[2])
    return product(query, key, value, mask, scaling or query.shape[-1] ** -0.5), None


def _added(mask: torch.Tensor | None, tokens: int) -> torch.Tensor:
    """What is added to scores, (rows or 1, heads or 1, tokens, tokens)."""
    if mask is None:
        mask = torch.ones(1, 1, tokens, tokens, dtype=torch.bool).tril_()
    if mask.dtype != torch.bool:
        return mask.float()
    return torch.zeros(mask.shape).masked_fill_(~mask, torch.finfo(torch.float32).min)


class _CausalAttention(torch.autograd.Function):
    """Gives (rows, tokens, heads, width). Keeps the weights, in the model's dtype."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        rows, heads, tokens, width = query.shape
        stacked = (-1, heads // key.shape[1] * tokens, width)
        grouped = query.reshape(stacked)
        key, value = (x.reshape(-1, tokens, width) for x in (key, value))
        scores = torch.bmm(grouped, key.transpose(1, 2)).float().mul_(scale)
        scores = scores.view(rows, heads, tokens, tokens).add_(mask)
        weights = torch.softmax(scores, -1).to(query.dtype)
        del scores
        said = torch.bmm(weights.view(len(grouped), -1, tokens), value)
        ctx.save_for_backward(grouped, key, value, weights)
        ctx.scale, ctx.rows = scale, rows
        return said.view(rows, heads, tokens, width).transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, weights = ctx.saved_tensors
        tokens, width = key.shape[1:]
        said = gradient.transpose(1, 2).reshape(query.shape)
        grouped = weights.view(len(query), -1, tokens)
        of_value = torch.bmm(grouped.transpose(1, 2), said)
        of_weights = torch.bmm(said, value.transpose(1, 2)).view(weights.shape)
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_scores = of_scores.mul_(ctx.scale).view(grouped.shape)
        of_query = torch.bmm(of_scores, key)
        of_key = torch.bmm(of_scores.transpose(1, 2), query)
        found = (x.view(ctx.rows, -1, tokens, width) for x in (of_query, of_key, of_value))
        return *found, None, None


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
