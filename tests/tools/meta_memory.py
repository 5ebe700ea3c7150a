"""Peak memory of one training step, counted on meta tensors: no GPU, no weights, no estimate.

    python -m tests.tools.meta_memory                     the table for Qwen2.5-3B
    python -m tests.tools.meta_memory --tokens 8192 --answers 256

Every storage that an operation makes is counted from then until Python lets go of it, as the
allocator of a GPU does. What a kernel takes for itself while it runs is not seen. Attention is the
fused kernel's, which keeps no score matrix.
"""

import argparse
import json
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM

from agent.training import answer_loss, cost, fused_lora

QWEN_3B: Mapping[str, object] = {
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 32768,
}
CASES = ((2048, 64), (8192, 256), (16384, 8192))  # tokens, answer tokens among them

Step = Callable[[nn.Module, torch.Tensor, torch.Tensor], None]


class PeakMemory(TorchDispatchMode):
    """Bytes of the storages that are alive, and the most there have been."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()

        def gone(_: object) -> None:
            self.alive -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, gone)
        self.alive += size
        self.peak = max(self.peak, self.alive)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.count(leaf)
        return result


def _fused_attention(
    module: Any, query: Any, key: Any, value: Any, _mask: Any, **options: Any
) -> tuple[torch.Tensor, None]:
    """The flash kernel of a GPU, which also takes fewer heads of keys and values."""
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    said = torch.ops.aten._scaled_dot_product_flash_attention(
        query, key, value, 0.0, True, scale=options.get("scaling")
    )[0]
    return said.transpose(1, 2), None


AttentionInterface.register("counted", _fused_attention)


def make_model(shape: Mapping[str, object] = QWEN_3B, rank: int = 16) -> Any:
    """A Qwen2 of this shape in 16 bit on the meta device, under LoRA with checkpointing."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model("qwen2", **shape),
            dtype=torch.bfloat16,
            attn_implementation="counted",
        ).requires_grad_(False)
    settings = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
    wrapped = get_peft_model(model, settings)
    fused_lora.fuse(wrapped)
    cost.enable_checkpointing(wrapped)
    return wrapped.train()


def on_answers(model: nn.Module, ids: torch.Tensor, places: torch.Tensor) -> None:
    """The step as the agent makes it."""
    answer_loss.forward_backward(model, ids, places, ids[0].index_select(0, places), 1.0)


def on_all_positions(model: nn.Module, ids: torch.Tensor, places: torch.Tensor) -> None:
    """The usual loop: logits of every position, upcast, then the loss of the answers."""
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    targets = torch.zeros_like(ids).flatten()
    functional.cross_entropy(logits.float().flatten(0, 1), targets).backward()


def peak_gb(model: Any, step: Step, tokens: int, answers: int) -> float:
    """Weights, adapter, gradients and activations of one step of batch 1, in 10^9 bytes."""
    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    places = torch.arange(tokens - answers - 1, tokens - 1, device="meta")
    with _counting(model) as memory:
        step(model, ids, places)
    model.zero_grad(set_to_none=True)
    return memory.peak / 1e9


@contextmanager
def _counting(model: nn.Module) -> Iterator[PeakMemory]:
    memory = PeakMemory()
    for tensor in [*model.parameters(), *model.buffers()]:
        memory.count(tensor)
    with memory:
        yield memory


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests.tools.meta_memory", allow_abbrev=False)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--answers", type=int, default=256)
    args = parser.parse_args(list(words))
    model = make_model()
    for tokens, answers in ((args.tokens, args.answers),) if args.tokens else CASES:
        line = {
            "model": "Qwen2.5-3B, 16 bit, LoRA rank 16, checkpointing, batch 1",
            "tokens": tokens,
            "answer_tokens": answers,
            "peak_gb": round(peak_gb(model, on_answers, tokens, answers), 2),
            "peak_gb_with_all_logits": round(peak_gb(model, on_all_positions, tokens, answers), 2),
        }
        print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
