"""Data sets: where examples come from, and which of them train, validate and test.

The test split is read by `load_test`, which nothing on a sweep's path calls, and by the look at
the data before a sweep, which counts what it shares with the other splits.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from agent.config.run_config import KEY_LENGTH, RunConfig
from agent.errors import DataError
from agent.training.data_formats import Example
from agent.training.reading.overlaps import question_key
from agent.training.reading.sources import Source, open_source

# The config's fields that decide which examples are read.
FIELDS = (
    "dataset",
    "validation_dataset",
    "validation_fraction",
    "test_dataset",
    "test_fraction",
    "split_seed",
    "eval_examples",
    "task",
)


@dataclass(frozen=True)
class Data:
    """What one sweep may read: training and validation examples with their digests."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    train_digest: str
    validation_digest: str
    shared_prompts: int = 0  # validation prompts that are trained on too
    notes: tuple[str, ...] = ()  # which files are which split, and which are not read

    def facts(self) -> dict[str, int]:
        """Sizes, for the run's summary."""
        return {
            "data/train_examples": len(self.train),
            "data/validation_examples": len(self.validation),
            "data/shared_prompts": self.shared_prompts,
        }


def load(config: RunConfig) -> Data:
    """Training and validation examples of a config. DataError when either would be empty."""
    source = open_source(config.dataset, "train")
    train, validation, _ = _splits(config, source, wanted=("train", "validation"))
    notes = source.notes()
    if config.validation_dataset:
        apart = open_source(config.validation_dataset, "validation")
        validation = _read_split(apart, "validation")
        notes += apart.notes()
    train, validation = _of_task(config, train), _of_task(config, validation)
    if config.eval_examples is not None:
        validation = _subset(validation, config.eval_examples)
    for name, examples in (("training", train), ("validation", validation)):
        if not examples:
            asked = f" of task = {config.task!r}" if config.task else ""
            raise DataError(
                f"dataset = {config.dataset!r}: no {name} examples{asked} are left; use more data "
                "or other held-out fractions"
            )
    trained = {question_key(example) for example in train}
    return Data(
        tuple(train),
        tuple(validation),
        digest_of(train),
        # Runs are compared in pairs of examples, so the ids that make the pairs belong to it.
        digest_of(validation, with_ids=True),
        sum(question_key(example) in trained for example in validation),
        tuple(notes),
    )


def load_test(config: RunConfig) -> tuple[Example, ...]:
    """The test examples. Only for the final evaluation of what was already chosen."""
    if not (examples := find_test(config)):
        raise DataError("no test split: give test_dataset or a test_fraction above 0")
    return examples


def find_test(config: RunConfig) -> tuple[Example, ...]:
    """The test examples, none where the data have no test split: to find what they share with
    the other splits, before a sweep starts."""
    if config.test_dataset:
        examples = read(config.test_dataset, "test")
    else:
        source = open_source(config.dataset, "train")
        examples = _splits(config, source, wanted=("train", "validation", "test"))[2]
    return tuple(_of_task(config, examples))


def _of_task(config: RunConfig, examples: list[Example]) -> list[Example]:
    """The examples of the config's task. They are chosen after the split, so that every task is
    held out as it is where all are trained together."""
    return [e for e in examples if config.task in (None, e.task)]


def _splits(
    config: RunConfig, source: Source, wanted: Sequence[str]
) -> tuple[list[Example], list[Example], list[Example]]:
    """Train, validation and test; the data set's own test split only when it is `wanted`."""
    train = _read_split(source, "train")
    validation, test = (
        _read_split(source, name) if name in wanted and name in source.parts else []
        for name in ("validation", "test")
    )
    need_validation = "validation" not in source.parts and not config.validation_dataset
    need_test = "test" not in source.parts and not config.test_dataset
    held_out = hold_out(
        train,
        config.validation_fraction if need_validation else 0.0,
        config.test_fraction if need_test else 0.0,
        config.split_seed,
    )
    return held_out[0], validation or held_out[1], test or held_out[2]


def hold_out(
    examples: Sequence[Example], validation: float, test: float, seed: int
) -> tuple[list[Example], list[Example], list[Example]]:
    """Split into train, validation and test, the same way in every process and on every machine.

    Each task and data set is split in its own proportion. The place of an example depends on its
    prompt and the seed only, so that a prompt that occurs twice never trains and validates; one
    that occurs in two data sets goes where the first of them puts it. Examples that name the same
    document or question as their source stay together.
    """
    rank_of = _shared_ranks(examples, seed)
    part_of: dict[str, int] = {}
    for _, group in groupby(sorted(examples, key=_kind), key=_kind):
        ranks = sorted({rank_of[_prompt_rank(e, seed)] for e in group})
        ends = round(len(ranks) * validation), round(len(ranks) * (validation + test))
        for position, rank in enumerate(ranks):
            part_of.setdefault(rank, 1 if position < ends[0] else 2 if position < ends[1] else 0)
    parts: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    for example in examples:
        parts[part_of[rank_of[_prompt_rank(example, seed)]]].append(example)
    return parts


def _shared_ranks(examples: Sequence[Example], seed: int) -> dict[str, str]:
    """The rank that decides about each prompt: its own, or the lowest among those that it is
    joined with by sources, however many steps away."""
    rank_of: dict[str, str] = {}

    def lowest(rank: str) -> str:
        while (above := rank_of.setdefault(rank, rank)) != rank:
            rank_of[rank] = rank = rank_of[above]  # halve the way for those who come after
        return rank

    first_of: dict[str, str] = {}
    for example in examples:
        rank = lowest(_prompt_rank(example, seed))
        if example.source:
            other = lowest(first_of.setdefault(example.source, rank))
            rank_of[max(rank, other)] = min(rank, other)
    return {rank: lowest(rank) for rank in list(rank_of)}


def _kind(example: Example) -> tuple[str, str]:
    return example.task, example.dataset


def _prompt_rank(example: Example, seed: int) -> str:
    text = json.dumps([seed, example.messages], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _subset(examples: Sequence[Example], count: int) -> list[Example]:
    """`count` examples, the same for every run: those whose prompts hash lowest, in file order."""
    chosen = sorted(range(len(examples)), key=lambda i: (_prompt_rank(examples[i], 0), i))[:count]
    return [examples[i] for i in sorted(chosen)]


def digest_of(examples: Iterable[Example], *, with_ids: bool = False) -> str:
    """Digest of contents in order; where they lie does not matter."""
    total = hashlib.sha256()
    for example in examples:
        content = [example.id, *example.content()] if with_ids else example.content()
        total.update(json.dumps(content, ensure_ascii=False).encode() + b"\n")
    return total.hexdigest()[:KEY_LENGTH]


def read(source: str, split: str = "train") -> list[Example]:
    """All examples of a file, a directory, several of them (with commas) or a Hugging Face id,
    of which `split` is taken when it has it, else its only one."""
    return _read_split(open_source(source, split), split)


def _read_split(source: Source, split: str) -> list[Example]:
    return _with_unique_ids(source.examples(split if split in source.parts else None))


def _with_unique_ids(examples: list[Example]) -> list[Example]:
    """Scores are paired by id, so an id that occurs again gets a running number."""
    taken: dict[str, int] = {}
    unique = []
    for example in examples:
        name = example.id
        while name in taken:
            taken[example.id] += 1
            name = f"{example.id}#{taken[example.id]}"
        taken[name] = 1
        unique.append(replace(example, id=name))
    return unique
