"""Generation: greedy, batched, the longest prompts first, stopped at the answer's end.

The loop is our own: rows whose answer has ended leave the batch, so that one long answer does not
keep all others busy. Nothing of a checkpoint's own sampling defaults (temperature, repetition
penalty) takes part, so that no score depends on them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from agent.errors import ModelTooLarge
from agent.evaluation.cache import make_cache
from agent.training import device_memory

PREFILL_TOKENS = 8192  # of all rows together that pass through the model at once


@dataclass(frozen=True)
class Answer:
    """What a model said. `finish` is "stop" when it ended by itself, "length" when it was cut."""

    text: str
    tokens_out: int  # the end token included
    finish: str


def generate(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    batch_size: int,
    max_new_tokens: int,
    token_budget: int | None = None,
    check_interruption: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """One answer per prompt, in the order of the prompts.

    Batches hold `batch_size` prompts, or with a `token_budget` as many as it holds with their
    answers; then one that does not fit into the device's memory is halved. Their composition
    depends on the prompts alone and is else the same for every model. `check_interruption` is
    called before every token.
    """
    answers: dict[int, Answer] = {}
    ends = _end_ids(model, tokenizer)
    waiting = make_batches([len(p) for p in prompts], batch_size, max_new_tokens, token_budget)
    while waiting:
        indices = waiting.pop(0)
        answer = partial(
            _continue_greedily,
            model,
            tokenizer.pad_token_id,
            [prompts[i] for i in indices],
            ends,
            max_new_tokens,
            check_interruption,
        )
        # Without a budget just so many prompts were asked for.
        with _contiguous_into_head(model):
            said = answer() if token_budget is None else device_memory.attempt(answer)
        if isinstance(said, device_memory.Shortage):
            device_memory.release(device_of(model))
            waiting[:0] = _halves(indices, len(prompts[indices[0]]), max_new_tokens, said.reason)
            continue
        batch = [_answer(tokenizer, tokens, ends) for tokens in said]
        answers.update(zip(indices, batch, strict=True))
    return [answers[i] for i in range(len(prompts))]


def make_batches(
    lengths: Sequence[int], batch_size: int, max_new_tokens: int, token_budget: int | None = None
) -> list[list[int]]:
    """Indices of the prompts of each batch, the longest prompts first, so that a batch which does
    not fit into memory shows at once. The cache of a batch holds its rows times its longest
    prompt with an answer: the budget bounds that."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    while order:
        size = batch_size
        if token_budget is not None:
            size = max(1, token_budget // (lengths[order[0]] + max_new_tokens))
        batches.append(order[:size])
        order = order[size:]
    return batches


def _halves(indices: list[int], longest: int, max_new_tokens: int, reason: str) -> list[list[int]]:
    if len(indices) == 1:
        raise ModelTooLarge(
            f"out of memory at the answer to one prompt of {longest} tokens with up to "
            f"{max_new_tokens} new ones: {reason}; lower max_length or max_new_tokens, or take a "
            "larger GPU"
        )
    half = len(indices) // 2
    print(f"out of memory with {len(indices)} prompts at once; again with {half}", flush=True)
    return [indices[:half], indices[half:]]


@contextmanager
def _contiguous_into_head(model: Any) -> Iterator[None]:
    """Let the output head read its rows without gaps. The last position of a longer pass is a view
    with gaps, for which torch on a CPU would copy the head's weights once for each row."""
    find_head = getattr(model, "get_output_embeddings", lambda: None)
    head: nn.Module | None = find_head()
    if head is None:
        yield
        return
    hook = head.register_forward_pre_hook(lambda _, read: (read[0].contiguous(), *read[1:]))
    try:
        yield
    finally:
        hook.remove()


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _end_ids(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end an answer: the tokenizer's and those the checkpoint names beside it."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = list(ends) if isinstance(ends, list | tuple) else [ends]
    return {e for e in [*ends, tokenizer.eos_token_id] if e is not None}


@torch.inference_mode()
def _continue_greedily(
    model: Any,
    pad_id: int,
    prompts: Sequence[Sequence[int]],
    ends: set[int],
    max_new_tokens: int,
    check_interruption: Callable[[], None],
) -> list[list[int]]:
    """The new tokens of every prompt, up to and with the first end token."""
    device = device_of(model)
    ids, mask = _left_padded(prompts, pad_id)
    ids, mask = ids.to(device), mask.to(device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    cache = make_cache(model.config, ids.shape[1] + max_new_tokens)
    said: list[list[int]] = [[] for _ in prompts]
    running = list(range(len(prompts)))  # the prompt that each row of the batch answers
    for _ in range(max_new_tokens):
        logits = _advance(model, cache, ids, mask, positions, check_interruption)
        tokens = most_likely(logits)
        for row, token in zip(running, tokens.tolist(), strict=True):
            if not said[row] or said[row][-1] not in ends:
                said[row].append(token)
        going = [place for place, row in enumerate(running) if said[row][-1] not in ends]
        if not going:
            break
        ids, positions = tokens[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(running), 1)], dim=1)
        if len(going) <= len(running) * _WORTH_SHRINKING:
            chosen = torch.tensor(going, device=device)
            ids, positions, mask = ids[chosen], positions[chosen], mask[chosen]
            cache.batch_select_indices(chosen)
            running = [running[place] for place in going]
    return said


def most_likely(logits: torch.Tensor) -> torch.Tensor:
    """The token of each row, the first one of equals. A CPU searches bf16 five times as slowly as
    fp32, in which it finds the same."""
    wide = logits.float() if logits.device.type == "cpu" else logits
    return wide.argmax(dim=-1)


def _advance(
    model: Any,
    cache: Any,
    ids: torch.Tensor,
    mask: torch.Tensor,
    positions: torch.Tensor,
    check_interruption: Callable[[], None],
) -> torch.Tensor:
    """Pass `ids`, the newest columns of the batch, through the model; the last one's logits.

    `mask` covers all columns so far. A long prompt goes through in pieces: its activations would
    take more memory than its cache.
    """
    seen = mask.shape[1] - ids.shape[1]
    width = max(1, PREFILL_TOKENS // ids.shape[0])
    logits = ids.new_empty(0)
    for start in range(0, ids.shape[1], width):
        check_interruption()
        columns = slice(start, start + width)
        logits = model(
            input_ids=ids[:, columns],
            attention_mask=mask[:, : seen + columns.stop],
            position_ids=positions[:, columns],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
    return logits[:, -1]


_WORTH_SHRINKING = 0.75  # copying the cache pays from a quarter of finished rows on


def _left_padded(
    prompts: Sequence[Sequence[int]], pad_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask, (rows, longest): all answers start at one column."""
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return ids, mask


def _answer(tokenizer: Any, tokens: Sequence[int], ends: set[int]) -> Answer:
    stop = next((i for i, token in enumerate(tokens) if token in ends), None)
    kept = tokens if stop is None else tokens[:stop]
    text = tokenizer.decode(kept, skip_special_tokens=True).strip()
    return Answer(text, len(kept) + (stop is not None), "length" if stop is None else "stop")
