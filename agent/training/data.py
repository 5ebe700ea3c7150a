"""Data sets: where examples come from, and which of them train, validate and test.

The test split is read by `load_test` alone, which nothing on a sweep's path calls.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from agent.config.run_config import KEY_LENGTH, RunConfig, is_path
from agent.errors import DataError
from agent.training.data_formats import Example, parse_record, read_file

_SPLIT_NAMES = {"validation": ("validation", "valid", "dev", "eval"), "test": ("test",)}


@dataclass(frozen=True)
class Data:
    """What one sweep may read: training and validation examples with their digests."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    train_digest: str
    validation_digest: str
    shared_prompts: int = 0  # validation prompts that are trained on too: only own files can

    def facts(self) -> dict[str, int]:
        """Sizes, for the run's summary."""
        return {
            "data/train_examples": len(self.train),
            "data/validation_examples": len(self.validation),
            "data/shared_prompts": self.shared_prompts,
        }


def load(config: RunConfig) -> Data:
    """Training and validation examples of a config. DataError when either would be empty."""
    train, validation, _ = _splits(config, wanted=("train", "validation"))
    if config.validation_dataset:
        validation = read(config.validation_dataset, "validation")
    if config.eval_examples is not None:
        validation = _subset(validation, config.eval_examples)
    for name, examples in (("training", train), ("validation", validation)):
        if not examples:
            raise DataError(
                f"dataset = {config.dataset!r}: no {name} examples are left; use more data or "
                "other held-out fractions"
            )
    trained = {example.messages for example in train}
    return Data(
        tuple(train),
        tuple(validation),
        digest_of(train),
        # Runs are compared in pairs of examples, so the ids that make the pairs belong to it.
        digest_of(validation, with_ids=True),
        sum(example.messages in trained for example in validation),
    )


def load_test(config: RunConfig) -> tuple[Example, ...]:
    """The test examples. Only for the final evaluation of what was already chosen."""
    if config.test_dataset:
        examples = read(config.test_dataset, "test")
    else:
        examples = _splits(config, wanted=("train", "validation", "test"))[2]
    if not examples:
        raise DataError("there is no test split: give test_dataset or a test_fraction above 0")
    return tuple(examples)


def _splits(
    config: RunConfig, wanted: Sequence[str]
) -> tuple[list[Example], list[Example], list[Example]]:
    """Train, validation and test; the data set's own test split only when it is `wanted`."""
    named = _read_named(config.dataset, wanted)
    train, validation, test = (named.get(name, []) for name in ("train", "validation", "test"))
    need_validation = "validation" not in named and not config.validation_dataset
    need_test = "test" not in named and not config.test_dataset
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
    that occurs in two data sets goes where the first of them puts it.
    """
    part_of: dict[str, int] = {}
    for _, group in groupby(sorted(examples, key=_kind), key=_kind):
        ranks = sorted({_prompt_rank(e, seed) for e in group})
        ends = round(len(ranks) * validation), round(len(ranks) * (validation + test))
        for position, rank in enumerate(ranks):
            part_of.setdefault(rank, 1 if position < ends[0] else 2 if position < ends[1] else 0)
    parts: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    for example in examples:
        parts[part_of[_prompt_rank(example, seed)]].append(example)
    return parts


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
    named = _read_named(source, (split,))
    return named.get(split) or named["train"]


def _read_named(source: str, wanted: Sequence[str]) -> dict[str, list[Example]]:
    """The `wanted` splits of a source by name; files on disk are one split, `train`."""
    parts = [part.strip() for part in source.split(",") if part.strip()]
    if len(parts) == 1 and (not is_path(parts[0]) or _is_saved_dataset(Path(parts[0]))):
        return _read_hub(parts[0], wanted)
    examples: list[Example] = []
    for part in parts:
        for path in _files_of(Path(part).expanduser()):
            examples += read_file(path)
    return {"train": _with_unique_ids(examples)}


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: no such file or directory")
    files = sorted(p for p in path.iterdir() if p.suffix in (".json", ".jsonl"))
    if not files:
        raise DataError(f"{path}: holds no .json or .jsonl file")
    return files


def _is_saved_dataset(path: Path) -> bool:
    """A directory that `datasets` wrote or can build from: it has no loose JSON of ours."""
    if not path.is_dir():
        return False
    names = {p.name for p in path.iterdir()}
    return bool(names & {"dataset_dict.json", "dataset_info.json"}) or any(
        name.endswith(".parquet") for name in names
    )


def _read_hub(name: str, wanted: Sequence[str]) -> dict[str, list[Example]]:
    """The wanted splits. One that nobody wants stays unread, and empty under its name."""
    tables = _load_tables(name)
    if len(tables) == 1:
        tables = {wanted[0]: next(iter(tables.values()))}
    if wanted[0] not in tables:
        raise DataError(
            f"dataset = {name!r} has the splits {', '.join(tables)} and none named {wanted[0]}; "
            "save the one you mean as a file"
        )
    named: dict[str, list[Example]] = {}
    for split, table in tables.items():
        rows = enumerate(table if split in wanted else (), start=1)
        records = [
            parse_record(row, where=f"{name}/{split}:{line}", source=Path(name).name)
            for line, row in rows
        ]
        named[split] = _with_unique_ids(records)
    return named


def _load_tables(name: str) -> dict[str, Any]:
    """The splits of a Hugging Face data set: an id, with `:config` after it where it has several,
    a directory of Parquet files, or one that `save_to_disk` wrote."""
    import datasets  # seconds to import, and only Hugging Face sources need it

    path = Path(name).expanduser()
    try:
        if path.is_dir() and not any(p.suffix == ".parquet" for p in path.iterdir()):
            loaded: Any = datasets.load_from_disk(str(path))
        else:
            place, _, subset = name.partition(":")
            loaded = datasets.load_dataset(place, subset or None)
    except Exception as error:  # datasets raises a dozen kinds for "not there"
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"dataset = {name!r} is neither a file or directory here nor a data set that can be "
            f"loaded: {first_line}"
        ) from error
    names = {alias: split for split, aliases in _SPLIT_NAMES.items() for alias in aliases}
    tables = loaded if isinstance(loaded, dict) else {"train": loaded}
    return {names.get(split, split): table for split, table in tables.items()}


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
