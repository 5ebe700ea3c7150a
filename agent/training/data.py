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

from agent.config import KEY_LENGTH, RunConfig, is_path
from agent.errors import DataError
from agent.training.records import Example, parse_record, read_file

_SPLIT_NAMES = {"validation": ("validation", "valid", "dev", "eval"), "test": ("test",)}


@dataclass(frozen=True)
class Data:
    """What one sweep may read: training and validation examples with their digests."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    train_digest: str
    validation_digest: str


def load(config: RunConfig) -> Data:
    """Training and validation examples of a config. DataError when either would be empty."""
    train, validation, _ = _splits(config)
    if config.validation_dataset:
        validation = read(config.validation_dataset)
    if config.eval_examples is not None:
        validation = _subset(validation, config.eval_examples)
    for name, examples in (("training", train), ("validation", validation)):
        if not examples:
            raise DataError(
                f"dataset = {config.dataset!r}: no {name} examples are left; use more data or "
                "other held-out fractions"
            )
    return Data(tuple(train), tuple(validation), digest_of(train), digest_of(validation))


def load_test(config: RunConfig) -> tuple[Example, ...]:
    """The test examples. Only for the final evaluation of what was already chosen."""
    examples = read(config.test_dataset) if config.test_dataset else _splits(config)[2]
    if not examples:
        raise DataError("there is no test split: give test_dataset or a test_fraction above 0")
    return tuple(examples)


def _splits(config: RunConfig) -> tuple[list[Example], list[Example], list[Example]]:
    named = _read_named(config.dataset)
    train, validation, test = (named.get(name, []) for name in ("train", "validation", "test"))
    need_validation = not validation and not config.validation_dataset
    need_test = not test and not config.test_dataset
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
    prompt and the seed only, so that a prompt that occurs twice never trains and validates.
    """
    part_of: dict[str, int] = {}
    for _, group in groupby(sorted(examples, key=_kind), key=_kind):
        prompts = sorted({_prompt_rank(e, seed) for e in group})
        ends = round(len(prompts) * validation), round(len(prompts) * (validation + test))
        for position, rank in enumerate(prompts):
            part_of[rank] = 1 if position < ends[0] else 2 if position < ends[1] else 0
    parts: tuple[list[Example], list[Example], list[Example]] = ([], [], [])
    for example in examples:
        parts[part_of[_prompt_rank(example, seed)]].append(example)
    return parts


def _kind(example: Example) -> tuple[str, str]:
    return example.task, example.dataset


def _prompt_rank(example: Example, seed: int) -> str:
    text = json.dumps([seed, *_kind(example), example.messages], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _subset(examples: Sequence[Example], count: int) -> list[Example]:
    """`count` examples, the same for every run: those whose prompts hash lowest, in file order."""
    chosen = sorted(range(len(examples)), key=lambda i: (_prompt_rank(examples[i], 0), i))[:count]
    return [examples[i] for i in sorted(chosen)]


def digest_of(examples: Iterable[Example]) -> str:
    """Digest of contents in order; names of files and ids do not matter."""
    total = hashlib.sha256()
    for example in examples:
        total.update(json.dumps(example.content(), ensure_ascii=False).encode() + b"\n")
    return total.hexdigest()[:KEY_LENGTH]


def read(source: str) -> list[Example]:
    """All examples of a file, a directory, several of them (with commas) or a Hugging Face id."""
    return _read_named(source)["train"]


def _read_named(source: str) -> dict[str, list[Example]]:
    """The named splits of a source; files on disk are one split, `train`."""
    parts = [part.strip() for part in source.split(",") if part.strip()]
    if len(parts) == 1 and (not is_path(parts[0]) or _is_saved_dataset(Path(parts[0]))):
        return _read_hub(parts[0])
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


def _read_hub(name: str) -> dict[str, list[Example]]:
    import datasets  # seconds to import, and only Hugging Face sources need it

    path = Path(name).expanduser()
    try:
        saved = path.is_dir() and not any(p.suffix == ".parquet" for p in path.iterdir())
        loaded: Any = datasets.load_from_disk(str(path)) if saved else datasets.load_dataset(name)
    except Exception as error:  # datasets raises a dozen kinds for "not there"
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"dataset = {name!r} is neither a file or directory here nor a data set that can be "
            f"loaded: {first_line}"
        ) from error
    tables = loaded if isinstance(loaded, dict) else {"train": loaded}
    named: dict[str, list[Example]] = {}
    for split, table in tables.items():
        target = next((k for k, names in _SPLIT_NAMES.items() if split in names), split)
        rows = enumerate(table, start=1)
        records = [
            parse_record(row, where=f"{name}/{split}:{line}", source=path.name)
            for line, row in rows
        ]
        named[target] = _with_unique_ids(records)
    if "train" not in named:
        named["train"] = next(iter(named.values()))
    return named


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
