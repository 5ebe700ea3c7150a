"""Generation: greedy, batched, sorted by length, stopped at the answer's end.

The loop is our own: rows whose answer has ended leave the batch, so that one long answer does not
keep all others busy. Nothing of a checkpoint's own sampling defaults (temperature, repetition
penalty) takes part, so that no score depends on them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache


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
    check_interruption: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """One answer per prompt, in the order of the prompts.

    Batches are formed over the prompts sorted by length, so the composition depends on the
    prompts alone and is the same for every model.
    """
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    answers: dict[int, Answer] = {}
    ends = _end_ids(model, tokenizer)
    for start in range(0, len(order), batch_size):
        check_interruption()
        indices = order[start : start + batch_size]
        rows = [prompts[i] for i in indices]
        said = _continue_greedily(model, tokenizer.pad_token_id, rows, ends, max_new_tokens)
        batch = [_answer(tokenizer, tokens, ends) for tokens in said]
        answers.update(zip(indices, batch, strict=True))
    return [answers[i] for i in range(len(prompts))]


def _end_ids(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end an answer: the tokenizer's and those the checkpoint names beside it."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = list(ends) if isinstance(ends, list | tuple) else [ends]
    return {e for e in [*ends, tokenizer.eos_token_id] if e is not None}


@torch.inference_mode()
def _continue_greedily(
    model: Any, pad_id: int, prompts: Sequence[Sequence[int]], ends: set[int], max_new_tokens: int
) -> list[list[int]]:
    """The new tokens of every prompt, up to and with the first end token."""
    device = next(model.parameters()).device
    ids, mask = _left_padded(prompts, pad_id)
    ids, mask = ids.to(device), mask.to(device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    said: list[list[int]] = [[] for _ in prompts]
    running = list(range(len(prompts)))  # the prompt that each row of the batch answers
    for _ in range(max_new_tokens):
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        tokens = output.logits[:, -1].argmax(dim=-1)
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
