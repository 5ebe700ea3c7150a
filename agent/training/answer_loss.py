"""The loss of one forward pass, with the output head on answer positions only.

Prompts are long and vocabularies wide: the logits of every position of 8,192 tokens take more
memory than all that the adapter's training needs beside them. So the decoder runs over whole
sequences, and what the model does after its decoder (head, scaling, soft-capping) over the answers
only, a chunk at a time. Each chunk's backward pass runs at once, so that no logits are left when
the decoder's begins.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from agent.training import adapters

LOGITS_AT_ONCE = 2**25  # elements of one chunk: 128 MiB in 32 bits


def forward_backward(
    model: nn.Module, ids: torch.Tensor, places: torch.Tensor, targets: torch.Tensor, scale: float
) -> torch.Tensor:
    """Add the gradients of `scale` times the summed loss; that loss, detached, on the device.

    `ids` has the shape (rows, longest), padded on the right. A causal decoder never looks at what
    comes later, so it needs no mask, and the fastest attention kernels take none. `places` are
    indices into the flattened ids of the positions that say the `targets`.
    """
    found = run_decoder(model, ids, places)
    if found is None:  # a model whose decoder and head cannot be separated
        logits = model(input_ids=ids, attention_mask=_mask(ids), use_cache=False).logits
        loss = _summed(logits.flatten(0, 1).index_select(0, places), targets, scale)
        loss.backward()
        return loss.detach()
    states, output = found
    total = torch.zeros((), device=ids.device)
    gradients = []
    size = max(1, LOGITS_AT_ONCE // _vocabulary(model))
    for start in range(0, len(places), size):
        chunk = states[start : start + size].detach().requires_grad_()
        loss = _summed(_after_decoder(model, output, chunk), targets[start : start + size], scale)
        loss.backward()
        total += loss.detach()
        gradients.append(chunk.grad)
        del loss
    if states.requires_grad:
        states.backward(torch.cat([g for g in gradients if g is not None]))
    return total


def _summed(logits: torch.Tensor, targets: torch.Tensor, scale: float) -> torch.Tensor:
    return functional.cross_entropy(logits.float(), targets, reduction="sum") * scale


def run_decoder(
    model: nn.Module, ids: torch.Tensor, places: torch.Tensor
) -> tuple[torch.Tensor, ModelOutput] | None:
    """What the decoder gives at `places`, (places, width), by the model's own forward pass, whose
    head then has nothing to do; and that output, emptied. None where the model has no decoder of
    its own."""
    decoder = decoder_of(model)
    if decoder is None:
        return None
    found: list[tuple[torch.Tensor, ModelOutput]] = []

    def keep(_module: nn.Module, _arguments: Any, output: Any) -> Any:
        if not isinstance(output, ModelOutput):  # code that a checkpoint brings may give a tuple
            return output
        hidden = output["last_hidden_state"]
        emptied = _with_states(output, hidden[:, :0])
        found.append((hidden.flatten(0, 1).index_select(0, places), emptied))
        return emptied

    handle = decoder[1].register_forward_hook(keep)
    try:
        model(input_ids=ids, attention_mask=_mask(ids), use_cache=False)
    finally:
        handle.remove()
    return found.pop() if found else None


def _mask(ids: torch.Tensor) -> torch.Tensor | None:
    """None, but on the meta device, where transformers would look for packed sequences."""
    return torch.ones_like(ids) if ids.device.type == "meta" else None


def _with_states(output: ModelOutput, states: torch.Tensor) -> ModelOutput:
    return type(output)(**{**output, "last_hidden_state": states})


def _after_decoder(model: nn.Module, output: ModelOutput, states: torch.Tensor) -> torch.Tensor:
    """Logits of decoder states, (states, vocabulary), by the model's own code after its decoder."""
    plain = adapters.without_adapter(model)
    with _decoder_gives(model, _with_states(output, states[None])):
        # Not the module's call: hooks have seen this forward pass, and it is one.
        logits: torch.Tensor = plain.forward(inputs_embeds=states[None], use_cache=False).logits
    return logits[0]


class _Given(nn.Module):
    """Stands in for a decoder whose output is known."""

    def __init__(self, output: ModelOutput) -> None:
        super().__init__()
        self._output = output

    def forward(self, *_: Any, **__: Any) -> ModelOutput:
        return self._output


@contextmanager
def _decoder_gives(model: nn.Module, output: ModelOutput) -> Iterator[None]:
    found = decoder_of(model)
    assert found is not None, "run_decoder has found one"
    name, decoder = found
    place, _, own_name = name.rpartition(".")
    owner = adapters.without_adapter(model).get_submodule(place)
    owner._modules[own_name] = _Given(output)
    try:
        yield
    finally:
        owner._modules[own_name] = decoder


def decoder_of(model: nn.Module) -> tuple[str, nn.Module] | None:
    """Name inside the plain model and module of what gives the hidden states; None without one."""
    plain = adapters.without_adapter(model)
    if not isinstance(plain, PreTrainedModel):
        return None
    decoder = plain.get_decoder()
    for name, module in plain.named_modules():
        if module is decoder and name:
            return name, module
    return None


def _vocabulary(model: nn.Module) -> int:
    return int(adapters.without_adapter(model).config.get_text_config().vocab_size)
