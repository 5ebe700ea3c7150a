"""How many examples of each task are too long to be trained on, to be scored or to be answered.

`of_tokens` counts as a run does; `at_least` counts what a login node can know in a second, without
the libraries that a model needs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.config.run_config import RunConfig, is_path
from agent.errors import DataError
from agent.training.data import Data
from agent.training.data_formats import Example

# The config's fields that say how long an example may be.
LIMITS = ("max_length", "max_length_by_task", "max_new_tokens", "max_new_tokens_by_task")


@dataclass(frozen=True)
class Size:
    """Tokens of one example: prompt with answer, and the answer alone."""

    example: Example
    is_scored: bool  # else it is trained on
    whole: int
    answer: int
    is_unknown: bool = False  # holds text that the tokenizer cannot write


@dataclass(frozen=True)
class TaskCounts:
    """How many examples of a task there are, in tokens of this model; `cut` counts references that
    `max_new_tokens` would not hold."""

    task: str
    read: int
    too_long: int
    longest: int
    scored: int
    not_scored: int  # too long as well
    cut: int
    longest_answer: int
    unknown: int  # with text that the tokenizer cannot write, trained and scored
    furthest: int  # position that an answer to a scored prompt may reach

    @property
    def line(self) -> str:
        text = f"{self.task}: {self.read - self.too_long} of {self.read} examples trained"
        if self.too_long:
            text += f" ({self.too_long} exceed max_length, the longest has {self.longest} tokens)"
        text += f", {self.scored} scored"
        if self.not_scored:
            text += f" ({self.not_scored} too long)"
        if self.unknown:
            text += f", {self.unknown} hold text that the tokenizer cannot write"
        return text + (f", {self.cut} answers exceed max_new_tokens" if self.cut else "")

    def problem(self, config: RunConfig) -> str | None:
        """Why more of the task would be lost than the config allows; None when it would not."""
        allowed = config.max_left_out_share
        asked = self.scored + self.not_scored
        if _share(self.unknown, self.read + asked) > allowed:
            return (
                f"{self.line}; that is more than max_left_out_share = {allowed:g} of the task; the "
                "tokenizer is of another language or another model's"
            )
        if _share(self.too_long, self.read) > allowed or _share(self.not_scored, asked) > allowed:
            lost, key, limit = "leaves out", "max_length", config.length_limit(self.task)
        elif _share(self.cut, asked) > allowed:
            lost, key, limit = "cuts", "max_new_tokens", config.answer_limit(self.task)
        else:
            return None
        return (
            f"{self.line}; that {lost} more than max_left_out_share = {allowed:g} of the task; "
            f"raise {key} = {limit}, for this task alone with {key}_by_task = {{{self.task}: …}}"
        )


def of_tokens(
    config: RunConfig, tokenizer: Any, loaded: Data, rows: int | None
) -> list[TaskCounts]:
    """The counts of each task. DataError when a token has no row among the embedding's `rows`."""
    from agent.training import prompts

    def size(example: Example, is_scored: bool) -> Size:
        try:
            prompt = prompts.prompt_ids(tokenizer, example.messages)
            answer = prompts.answer_ids(tokenizer, example.answers[0])
        except DataError as fault:
            raise DataError(f"example {example.id}: {fault}") from None
        highest = max((*prompt, *answer))
        if rows is not None and highest >= rows:
            raise DataError(
                f"example {example.id}: its text has token {highest}, but base_model = "
                f"{config.base_model!r} has {rows} rows of embedding; the tokenizer is "
                "another model's"
            )
        is_unknown = unknown in prompt or unknown in answer
        return Size(example, is_scored, len(prompt) + len(answer), len(answer), is_unknown)

    unknown = prompts.unknown_id(tokenizer)
    return _count(config, _sizes(loaded, size))


def at_least(config: RunConfig, loaded: Data) -> tuple[list[str], list[str]]:
    """A line for each task on what exceeds the limits at least, and the problems of those of which
    too much does. The chat template's own tokens are not counted."""
    tokens, how = _token_counter(config)

    def size(example: Example, is_scored: bool) -> Size:
        answer = tokens(example.answers[0]) + 1  # the end token
        prompt = sum(tokens(text) for _, text in example.messages)
        return Size(example, is_scored, prompt + answer, answer)

    counts = _count(config, _sizes(loaded, size))
    lines = [
        f"{c.task}: {c.too_long + c.not_scored} of {c.read + c.scored + c.not_scored} examples "
        f"exceed max_length = {config.length_limit(c.task)} (the longest has {c.longest} tokens), "
        f"{c.cut} of {c.scored + c.not_scored} validation answers max_new_tokens = "
        f"{config.answer_limit(c.task)} ({c.longest_answer}); {how}"
        for c in counts
    ]
    problems = [problem for c in counts if (problem := c.problem(config))]
    return lines, problems


def _token_counter(config: RunConfig) -> tuple[Callable[[str], int], str]:
    """How many tokens a text has at least, and how that is known."""
    from tokenizers import Tokenizer

    if (file := _tokenizer_file(config)) is not None:
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception:  # the library raises the class itself; the run's own look says why
            pass
        else:

            def count(text: str) -> int:
                return len(tokenizer.encode(text, add_special_tokens=False).ids)

            return count, "counted without the chat template"
    # No tokenizer of the supported families has a token that spans words.
    return (lambda text: len(text.split())), "at least: a token per word"


def _tokenizer_file(config: RunConfig) -> Path | None:
    """The base's tokenizer, in its directory or the Hugging Face cache; nothing is downloaded."""
    if is_path(config.base_model):
        file = Path(config.base_model).expanduser() / "tokenizer.json"
        return file if file.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        config.base_model, "tokenizer.json", revision=config.base_revision
    )
    return Path(found) if isinstance(found, str) else None


def _sizes(loaded: Data, size: Callable[[Example, bool], Size]) -> Iterable[Size]:
    for is_scored, examples in ((False, loaded.train), (True, loaded.validation)):
        for example in examples:
            yield size(example, is_scored)


def _count(config: RunConfig, sizes: Iterable[Size]) -> list[TaskCounts]:
    by_task: dict[str, tuple[list[Size], list[Size]]] = {}
    for size in sizes:
        by_task.setdefault(size.example.task, ([], []))[size.is_scored].append(size)
    return [
        TaskCounts(
            task,
            read=len(trained),
            too_long=_above([s.whole for s in trained], config.length_limit(task)),
            longest=max((s.whole for s in (*trained, *scored)), default=0),
            scored=len(scored) - _above([s.whole for s in scored], config.length_limit(task)),
            not_scored=_above([s.whole for s in scored], config.length_limit(task)),
            cut=_above([s.answer for s in scored], config.answer_limit(task)),
            longest_answer=max((s.answer for s in (*trained, *scored)), default=0),
            unknown=sum(s.is_unknown for s in (*trained, *scored)),
            furthest=max(
                (s.whole - s.answer for s in scored if s.whole <= config.length_limit(task)),
                default=-config.answer_limit(task),
            )
            + config.answer_limit(task),
        )
        for task, (trained, scored) in sorted(by_task.items())
    ]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _above(sizes: Sequence[int], limit: int) -> int:
    return sum(size > limit for size in sizes)


def facts_of(counts: Sequence[TaskCounts]) -> dict[str, object]:
    """Of the counts, what stands in a run's summary."""
    facts: dict[str, object] = {}
    for count in counts:
        facts[f"data/trained_{count.task}"] = count.read - count.too_long
        facts[f"data/too_long_{count.task}"] = count.too_long
        facts[f"data/scored_{count.task}"] = count.scored
        facts[f"data/cut_{count.task}"] = count.cut
    return facts
