"""Prompts and answers as token ids; the same format in training, validation and the benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.training.data_formats import Example

# Part of every training and evaluation key: raise it when the format below changes.
PROMPT_FORMAT = "chat template, else text and line break / answer and end token / 1"


@dataclass(frozen=True)
class TrainingSequence:
    """A training sequence: the loss covers `input_ids[answer_start:]` only."""

    input_ids: tuple[int, ...]
    answer_start: int


def prompt_text(tokenizer: Any, messages: Sequence[tuple[str, str]]) -> str:
    """The prompt through the tokenizer's chat template when it has one, else as plain text."""
    if getattr(tokenizer, "chat_template", None):
        turns = [{"role": role, "content": content} for role, content in messages]
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    return "\n".join(content for _, content in messages) + "\n"


def prompt_ids(tokenizer: Any, messages: Sequence[tuple[str, str]]) -> list[int]:
    has_template = bool(getattr(tokenizer, "chat_template", None))
    # A chat template writes its own special tokens; plain text needs the tokenizer's (such as bos).
    encoded = tokenizer(prompt_text(tokenizer, messages), add_special_tokens=not has_template)
    ids = list(encoded["input_ids"])
    if not has_template and ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()  # some tokenizers close every text; the answer is still to come
    return ids


def answer_ids(tokenizer: Any, answer: str) -> list[int]:
    """The answer and the end token that teaches the model to stop."""
    return [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def is_within(tokenizer: Any, prompt: Sequence[int], answer: str, max_length: int) -> bool:
    """The rule of length for training and evaluation alike: prompt, answer and end token."""
    return len(prompt) + len(answer_ids(tokenizer, answer)) <= max_length


def encode(
    tokenizer: Any, examples: Sequence[Example], max_length: int
) -> tuple[list[TrainingSequence], int]:
    """Training sequences, and how many examples were left out because they exceed `max_length`.

    Nothing is cut: an answer that lost its end would teach the model never to stop.
    """
    sequences = []
    for example in examples:
        prompt = prompt_ids(tokenizer, example.messages)
        ids = (*prompt, *answer_ids(tokenizer, example.answers[0]))
        if len(ids) <= max_length:
            sequences.append(TrainingSequence(ids, len(prompt)))
    return sequences, len(examples) - len(sequences)
