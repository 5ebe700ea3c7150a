"""FLOPs of answering one query, from the model's shape and the lengths that really occurred.

With N_blocks weights in the linear layers of the blocks, N_lora in adapters served beside them,
N_head in the output head, L layers and attention width d, a query of T_in tokens answered with
T_out tokens costs, with a key-value cache,

    2 (N_blocks + N_lora)(T_in + T_out - 1) + 2 N_head T_out
    + 4 d L (T_in T_in + sum of the contexts of the T_out - 1 later tokens)

A multiply-add counts as two. The prompt's attention is the full square, masked half included, as
torch's own counter has it. Quantisation changes bytes and time, not these numbers: they are
read off an unquantised twin on the meta device. Holds for dense decoders with ordinary attention;
for others (a mixture of experts uses only a part of N_blocks per token) there is no count.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from agent.config.run_config import RunConfig
from agent.training import adapters, base_model
from agent.training.bases.linear_layers import expert_parameters, layers_of, weights_in

_ADAPTER_PARTS = ("lora_A", "lora_B")


@dataclass(frozen=True)
class QueryFlops:
    """The shape of a served model, as far as it decides what a query costs."""

    block_weights: int
    adapter_weights: int  # 0 where the adapter is merged
    head_weights: int
    layers: int
    attention_width: int  # query heads x head size
    is_known: bool = True  # False where the formula does not hold: then nothing is a number

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """FLOPs of one query at batch 1; `tokens_out` counts the end token."""
        if not self.is_known:
            return math.nan
        passed = tokens_in + tokens_out - 1
        linear = 2.0 * (self.block_weights + self.adapter_weights) * passed
        head = 2.0 * self.head_weights * tokens_out
        later_contexts = sum(range(tokens_in + 1, tokens_in + tokens_out))
        attention = tokens_in * tokens_in + later_contexts
        return linear + head + 4.0 * self.attention_width * self.layers * attention


def shape_of(config: RunConfig, path: Path, *, has_adapter: bool = True) -> QueryFlops:
    """The shape of the config's deployment of the base model at `path`; of the untouched base in
    that form without an adapter. Not a number where the formula does not hold."""
    twin = base_model.meta_twin(config, path)
    head = twin.get_output_embeddings()
    settings = twin.config.get_text_config()
    if expert_parameters(twin) or head is None or not _has_ordinary_attention(settings):
        return QueryFlops(0, 0, 0, 0, 0, is_known=False)
    heads = settings.num_attention_heads
    head_size = getattr(settings, "head_dim", None) or settings.hidden_size // heads
    return QueryFlops(
        block_weights=sum(map(weights_in, layers_of(twin).values())),
        adapter_weights=_adapter_weights(twin, config) if has_adapter else 0,
        head_weights=head.weight.numel(),
        layers=settings.num_hidden_layers,
        attention_width=heads * head_size,
    )


def _has_ordinary_attention(settings: Any) -> bool:
    """Query heads of one size in every layer; not low-rank (DeepSeek), linear or recurrent."""
    kinds = set(getattr(settings, "layer_types", None) or ())
    return (
        isinstance(getattr(settings, "num_attention_heads", None), int)
        and getattr(settings, "kv_lora_rank", None) is None
        and kinds <= {"full_attention", "sliding_attention"}
    )


def _adapter_weights(twin: PreTrainedModel, config: RunConfig) -> int:
    """Weights that stay beside the base when served. `twin` is changed: it gets the adapter."""
    if config.variant.deployment != "quantised_base_with_adapter":
        return 0
    parameters = adapters.attach(twin, config).named_parameters()
    return sum(p.numel() for name, p in parameters if any(part in name for part in _ADAPTER_PARTS))
