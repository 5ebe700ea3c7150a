"""Prompts and answers as token ids; the same format in training, validation and the benchmark.

A prompt says all that its record says, and the same on every day: dates are pinned, every message
must be found in what the chat template writes, and text of the data is never read as one of the
tokenizer's special tokens.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from agent.config.run_config import KEY_LENGTH
from agent.errors import DataError, first_line
from agent.training.data_formats import Example

# Part of every training and evaluation key: raise it when the format below changes.
PROMPT_FORMAT = "chat template, else text and line break / answer and end token / 2"
# The day that templates which write today's date (Llama 3.2, SmolLM3, gpt-oss) get: the one that
# Llama's own template falls back on.
PINNED_DATE = datetime(2024, 7, 26)

Messages = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class TrainingSequence:
    """A training sequence: the loss covers `input_ids[answer_start:]` only."""

    input_ids: tuple[int, ...]
    answer_start: int


# ---------------------------------------------------------------------- prompts as text
def prompt_text(tokenizer: Any, messages: Messages) -> str:
    """The prompt through the tokenizer's chat template when it has one, else as plain text.

    DataError when the template refuses the messages or leaves one out.
    """
    return _rendered(tokenizer, messages)[0]


def _rendered(tokenizer: Any, messages: Messages) -> tuple[str, Messages]:
    """The prompt's text, and the messages it was made from: a system text that the template
    refuses or leaves out stands before the first user's, as the models' cards advise."""
    if not _has_template(tokenizer):
        return "\n".join(content for _, content in messages) + "\n", messages
    fault = ""
    for turns in (messages, _with_system_merged(messages)):
        if not turns:
            continue
        try:
            text = _apply_template(tokenizer, turns)
        except Exception as error:  # a template raises what it likes
            fault = fault or f"the chat template refuses it: {first_line(error)}"
            continue
        left_out = _left_out(text, turns)
        if left_out is None:
            return text, turns
        fault = fault or f"the chat template leaves out the {left_out} message"
    roles = ", ".join(role for role, _ in messages)
    raise DataError(
        f"a prompt of {roles} cannot be written for this model: {fault}; change the record's "
        f"turns or take a model with another template (it begins {messages[0][1][:60]!r})"
    )


def _has_template(tokenizer: Any) -> bool:
    return bool(getattr(tokenizer, "chat_template", None))


def _apply_template(tokenizer: Any, messages: Messages) -> str:
    """Answers come without a chain of thought: templates that can (Qwen3) are asked to skip it."""
    return str(
        tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in messages],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
            thinking=False,
            date_string=f"{PINNED_DATE:%d %b %Y}",
            chat_template=_with_pinned_date(_template_of(tokenizer)),
        )
    )


def _template_of(tokenizer: Any) -> str:
    template = tokenizer.chat_template
    if isinstance(template, str):
        return template
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise DataError(f"the chat template cannot be chosen: {first_line(error)}") from None


def _with_pinned_date(template: str) -> str:
    """The template with every date that it writes fixed. A function cannot be handed to it: only
    plain data reach a template."""
    if "strftime_now" not in template:
        return template
    pinned = _DATE_CALL.sub(lambda call: repr(PINNED_DATE.strftime(call[2])), template)
    # A format that only the template knows gets the day in one form.
    day = f"{PINNED_DATE:%d %b %Y}"
    return "{%- macro strftime_now(format) -%}" + day + "{%- endmacro %}" + pinned


_DATE_CALL = re.compile(r"""strftime_now\(\s*(["'])([^"'\\]*)\1\s*\)""")


def _with_system_merged(messages: Messages) -> Messages | None:
    """The messages with the system text before the first user's; None where there is none."""
    systems = [content for role, content in messages if role == "system"]
    rest = [turn for turn in messages if turn[0] != "system"]
    first = next((i for i, (role, _) in enumerate(rest) if role == "user"), None)
    if not systems or first is None:
        return None
    merged = "\n\n".join([*systems, rest[first][1]])
    return [*rest[:first], ("user", merged), *rest[first + 1 :]]


def _left_out(text: str, messages: Messages) -> str | None:
    """The role of the first message whose content is not in the prompt as often as it should."""
    contents = [content.strip() for _, content in messages]
    for role, content in messages:
        wanted = sum(other.count(content.strip()) for other in contents)
        if text.count(content.strip()) < wanted:
            return role
    return None


def notes_on(tokenizer: Any, examples: Sequence[Example]) -> list[str]:
    """What was decided for this template, in a line each."""
    if not _has_template(tokenizer):
        return ["no chat template: prompts are plain text and a line break"]
    template = _template_of(tokenizer)
    notes = []
    _refuse_chance(tokenizer, examples)
    if "enable_thinking" in template or re.search(r"\bthinking\b", template):
        notes.append("the chat template can think: turned off")
    if any(_opens_thought(prompt_text(tokenizer, e.messages)) for e in examples[:1]):
        notes.append("the chat template opens a thought in any case: answers stand inside it")
    if "reasoning_effort" in template:
        notes.append("the chat template names a reasoning effort: its own default")
    if "strftime_now" in template or "date_string" in template:
        notes.append(f"the chat template writes a date: always {PINNED_DATE:%d %b %Y}")
    asked = next((e for e in examples if any(role == "system" for role, _ in e.messages)), None)
    if asked and _rendered(tokenizer, asked.messages)[1] is not asked.messages:
        notes.append("the chat template has no system role: its text stands before the user's")
    return notes


def _opens_thought(text: str) -> bool:
    return bool(re.search(r"<think(ing)?>\s*$", text))


_RENDERINGS = 8  # in which a template that draws from chance would give itself away


def _refuse_chance(tokenizer: Any, examples: Sequence[Example]) -> None:
    """DataError for a template that writes another prompt each time."""
    for example in examples[:1]:
        texts = {prompt_text(tokenizer, example.messages) for _ in range(_RENDERINGS)}
        if len(texts) > 1:
            raise DataError(
                "the chat template writes another prompt each time, so that no two runs would "
                "train on the same; take it out of the tokenizer's chat_template"
            )


def digest_of(tokenizer: Any, examples: Iterable[Example]) -> str:
    """Digest of the prompts as the model reads them; part of the keys."""
    total = hashlib.sha256()
    for example in examples:
        text = json.dumps(prompt_text(tokenizer, example.messages), ensure_ascii=False)
        total.update(text.encode() + b"\n")
    return total.hexdigest()[:KEY_LENGTH]


# ---------------------------------------------------------------------- text as token ids
def prompt_ids(tokenizer: Any, messages: Messages) -> list[int]:
    """Token ids of the prompt. The template's special tokens are read as such, the data's not."""
    text, turns = _rendered(tokenizer, messages)
    lookalikes = [content for _, content in turns if _has_special_token(tokenizer, content)]
    if _has_template(tokenizer):
        # A chat template writes its own special tokens, such as bos.
        if not lookalikes:
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])
        return _ids_of_parts(tokenizer, turns, text)
    if lookalikes:
        data_ids(tokenizer, text)  # raises where the tokenizer can read it in no other way
    settings = {"split_special_tokens": True} if lookalikes else {}
    ids = list(tokenizer(text, add_special_tokens=True, **settings)["input_ids"])
    if ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()  # some tokenizers close every text; the answer is still to come
    return ids


def _ids_of_parts(tokenizer: Any, turns: Messages, text: str) -> list[int]:
    """The template's own text and the messages one by one, each read in its own way."""
    marks = [f"\ue000{number}\ue001" for number in range(len(turns))]
    marked = _apply_template(
        tokenizer, [(role, mark) for (role, _), mark in zip(turns, marks, strict=True)]
    )
    for contents in ([c for _, c in turns], [c.strip() for _, c in turns]):
        inside = dict(zip(marks, contents, strict=True))
        parts = [part for part in re.split("(\ue000[0-9]+\ue001)", marked) if part]
        if "".join(inside.get(part, part) for part in parts) == text:
            ids: list[int] = []
            for part in parts:
                if part in inside:
                    ids += data_ids(tokenizer, inside[part])
                else:
                    ids += tokenizer(part, add_special_tokens=False)["input_ids"]
            return ids
    raise DataError(
        "a message holds text like a special token, and the chat template changes it so that the "
        f"two look the same (the prompt begins {text[:60]!r})"
    )


def data_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of text of the data: what looks like a special token is read as ordinary text.

    DataError when the tokenizer cannot.
    """
    if not _has_special_token(tokenizer, text):
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    ids = list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
    unknown = getattr(tokenizer, "unk_token_id", None)  # what it cannot write: not looked up
    found = (set(ids) & _special_tokens(tokenizer).keys()) - {unknown}
    if found:
        names = ", ".join(sorted(_special_tokens(tokenizer)[i] for i in found))
        raise DataError(
            f"the text {text[:60]!r} holds {names}, which this tokenizer can only read as its "
            "special token; remove it from the record"
        )
    return ids


def _has_special_token(tokenizer: Any, text: str) -> bool:
    return any(token in text for token in _special_tokens(tokenizer).values())


def _special_tokens(tokenizer: Any) -> dict[int, str]:
    """The tokens by id that text of the data may not write: the special ones, and others that the
    chat template marks turns with (DeepSeek's are not special tokens)."""
    if tokenizer not in _KNOWN_SPECIAL:
        added = getattr(tokenizer, "added_tokens_decoder", None) or {}
        template = json.dumps(getattr(tokenizer, "chat_template", None) or "", ensure_ascii=False)
        known = {
            i: str(token)
            for i, token in added.items()
            if str(token) and (token.special or _marks_turns(str(token), template))
        }
        if tokenizer.eos_token_id is not None and getattr(tokenizer, "eos_token", None):
            known[tokenizer.eos_token_id] = str(tokenizer.eos_token)
        _KNOWN_SPECIAL[tokenizer] = known
    return _KNOWN_SPECIAL[tokenizer]


def _marks_turns(token: str, template: str) -> bool:
    """Thoughts and calls of tools are content, though templates write them too."""
    is_mark = re.fullmatch(r"[<\[|｜].*[>\]|｜]", token) and not re.search(
        "think|tool", token.lower()
    )
    return bool(is_mark) and token in template


_KNOWN_SPECIAL: WeakKeyDictionary[Any, dict[int, str]] = WeakKeyDictionary()


def unknown_id(tokenizer: Any) -> int | None:
    """The token for text that the tokenizer cannot write; None where it can write all."""
    found: int | None = getattr(tokenizer, "unk_token_id", None)
    ends = (tokenizer.eos_token_id, getattr(tokenizer, "bos_token_id", None))
    return None if found in ends else found  # GPT-2 names its end token, which it never needs


def answer_ids(tokenizer: Any, answer: str) -> list[int]:
    """The answer and the end token that teaches the model to stop."""
    return [*data_ids(tokenizer, answer), tokenizer.eos_token_id]


def is_within(tokenizer: Any, prompt: Sequence[int], answer: str, max_length: int) -> bool:
    """The rule of length for training and evaluation alike: prompt, answer and end token."""
    return len(prompt) + len(answer_ids(tokenizer, answer)) <= max_length


def encode(
    tokenizer: Any,
    examples: Sequence[Example],
    max_length: int,
    by_task: Mapping[str, int] | None = None,
) -> tuple[list[TrainingSequence], int]:
    """Training sequences, and how many examples were left out because they exceed `max_length`,
    or the limit that `by_task` sets for their task.

    Nothing is cut: an answer that lost its end would teach the model never to stop.
    """
    sequences = []
    for example in examples:
        prompt = prompt_ids(tokenizer, example.messages)
        ids = (*prompt, *answer_ids(tokenizer, example.answers[0]))
        if len(ids) <= (by_task or {}).get(example.task, max_length):
            sequences.append(TrainingSequence(ids, len(prompt)))
    return sequences, len(examples) - len(sequences)
