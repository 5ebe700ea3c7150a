"""Generation: greedy, batched, sorted by length, stopped at the answer's end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig


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
    settings = _greedy(model, tokenizer, max_new_tokens)
    for start in range(0, len(order), batch_size):
        check_interruption()
        indices = order[start : start + batch_size]
        batch = _generate_batch(model, tokenizer, [prompts[i] for i in indices], settings)
        answers.update(zip(indices, batch, strict=True))
    return [answers[i] for i in range(len(prompts))]


def _greedy(model: Any, tokenizer: Any, max_new_tokens: int) -> GenerationConfig:
    """Greedy decoding and nothing else: a checkpoint's own sampling defaults (temperature,
    repetition penalty) would make scores depend on them."""
    own = getattr(model, "generation_config", None)
    ends = getattr(own, "eos_token_id", None)
    ends = list(ends) if isinstance(ends, list | tuple) else [ends]
    end_ids = sorted({e for e in [*ends, tokenizer.eos_token_id] if e is not None})
    settings = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        use_cache=True,
        eos_token_id=end_ids,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.generation_config = settings
    return settings


def _generate_batch(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], settings: GenerationConfig
) -> list[Answer]:
    longest = max(map(len, prompts))
    device = next(model.parameters()).device
    ids = torch.full((len(prompts), longest), tokenizer.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):  # left-padded: all answers start at one column
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=settings
        )
    ends = set(settings.eos_token_id)
    return [_answer(tokenizer, row, ends) for row in output[:, longest:].tolist()]


def _answer(tokenizer: Any, tokens: Sequence[int], ends: set[int]) -> Answer:
    stop = next((i for i, token in enumerate(tokens) if token in ends), None)
    kept = tokens if stop is None else tokens[:stop]
    text = tokenizer.decode(kept, skip_special_tokens=True).strip()
    return Answer(text, len(kept) + (stop is not None), "length" if stop is None else "stop")
