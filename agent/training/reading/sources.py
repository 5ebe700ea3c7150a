"""Data sources: which files, folders and Hugging Face data sets give which split.

Parts are used as their names say: `nq/train.jsonl`, `dev.jsonl` and `test.jsonl` of one folder are
a training, a validation and a test split. A source whose parts name no split is one split.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.config.run_config import exists, is_path
from agent.errors import DataError, first_line
from agent.training.data_formats import Example, parse_rows, read_file
from agent.training.reading import files, split_names
from agent.training.reading.rows import Row

_PACKED_DATA = (".zip", ".tar", ".tgz", ".7z", ".rar", ".xlsx", ".xls", ".ods", ".pkl", ".pickle")


@dataclass(frozen=True)
class Part:
    """One file, or one split of a data set. `named` is what it was found as by its user."""

    label: str | None  # the split that its name says
    where: str
    named: str
    is_chosen: bool  # a file that the config names itself
    read: Callable[[Counter[str]], list[Example]]  # counts the fields that are not used


@dataclass(frozen=True)
class Source:
    """The splits of a `dataset` value by name, each its parts; None where no part names one."""

    name: str
    parts: dict[str | None, list[Part]]
    unread: tuple[str, ...] = ()  # files of a folder that hold no records by their suffix
    unused: Counter[str] = field(default_factory=Counter)  # fields of the records that were read

    def examples(self, split: str | None) -> list[Example]:
        parts = self.parts.get(split, ())
        return [example for part in parts for example in part.read(self.unused)]

    def notes(self) -> list[str]:
        """What was found, in a line each: the parts of each split, and files and fields that are
        not used."""
        lines = []
        if set(self.parts) != {None}:
            lines = [
                f"{self.name}: {split} from {', '.join(part.where for part in parts)}"
                for split, parts in self.parts.items()
            ]
        if self.unread:
            lines.append(f"{self.name}: not read: {_listed(self.unread)}")
        if self.unused:
            fields = [f"{name} ({count} times)" for name, count in sorted(self.unused.items())]
            lines.append(f"{self.name}: fields that are not used: {_listed(fields)}")
        return lines


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _MOST_LISTED} more" if len(words) > _MOST_LISTED else ""
    return f"{', '.join(words[:_MOST_LISTED])}{more}"


_MOST_LISTED = 10


def open_source(name: str, wanted: str) -> Source:
    """The splits of a `dataset` value, of which `wanted` must be one. Nothing is read yet.

    DataError when a part is not there, or when only other splits are.
    """
    parts: list[Part] = []
    unread: list[str] = []
    for word in (word.strip() for word in name.split(",")):
        if word:
            found, left = _parts_of(word)
            parts += found
            unread += left
    _refuse_repeated(parts)
    labels = {part.label for part in parts if part.label}
    all_chosen = all(part.is_chosen for part in parts)
    if not labels or (all_chosen and len({part.label for part in parts}) == 1):
        return Source(name, {None: parts}, tuple(unread))
    by_split: dict[str | None, list[Part]] = {}
    for part in parts:
        if part.label is None and not part.is_chosen and "train" in labels:
            raise DataError(
                f"{part.where}: its name says no split, but files beside it are named for "
                f"{', '.join(sorted(labels))}; name the files that you mean, with commas"
            )
        by_split.setdefault(part.label or "train", []).append(part)
    if wanted not in by_split:
        by_split = _only_split(name, by_split, wanted)
    return Source(name, by_split, tuple(unread))


def _only_split(
    name: str, by_split: dict[str | None, list[Part]], wanted: str
) -> dict[str | None, list[Part]]:
    """A source with one split stands for the wanted one, except that nothing is trained on what
    is there for validation, and a test split is only for the test."""
    (first, parts), *others = by_split.items()
    is_other = first == "test" or (first == "validation" and wanted == "train")
    if others or is_other:
        splits = ", ".join(map(str, by_split))
        raise DataError(
            f"dataset = {name!r} has the splits {splits} and none named {wanted}; save the one "
            "you mean as a file, or name its file"
        )
    return {wanted: parts}


def _parts_of(word: str) -> tuple[list[Part], list[str]]:
    if not exists(word):
        if is_path(word):
            raise DataError(f"{word[:_LONGEST_NAME]}: no such file or directory")
        return _parts_of_tables(word), []
    path = Path(word).expanduser()
    if path.is_dir() and not _is_saved_dataset(path):
        return _parts_of_folder(path)
    if path.is_dir():
        return _parts_of_tables(word), []
    return [_file_part(path, path.absolute(), is_chosen=True)], []


_LONGEST_NAME, _LONGEST_REASON = 200, 400  # characters in a message


# ---------------------------------------------------------------------- files
def _refuse_repeated(parts: Sequence[Part]) -> None:
    """DataError when the same file is read twice, or one name lies there in two forms."""
    seen: dict[object, Part] = {}
    for part in parts:
        path = Path(part.where)
        keys: list[object] = [path.resolve()] if path.is_file() else [part.where]
        if not part.is_chosen:
            keys.append((path.parent, files.stem_of(path)))
        for key in keys:
            if (other := seen.setdefault(key, part)) is not part:
                raise DataError(
                    f"{part.where} and {other.where} would both be read, which looks like the same "
                    "records twice; name the files that you mean, with commas"
                )


def _parts_of_folder(folder: Path) -> tuple[list[Part], list[str]]:
    """Every file with records below a folder, sub-folders included, and the names of the others."""
    found: list[Path] = []
    unread: list[str] = []
    for path in _files_below(folder):
        inside = path.relative_to(folder)
        if not path.exists():
            raise DataError(f"{path}: is a link to {path.readlink()}, which is not there")
        if not path.is_file() or not files.is_readable(path) or inside.name in _DESCRIPTIONS:
            _refuse_unread_split(path)
            unread.append(str(inside))
        elif files.packing_of(path) and path.with_name(files.unpacked_name(path)).is_file():
            unread.append(f"{inside} (its unpacked form is beside it)")
        else:
            found.append(path)
    if not found:
        others = f"; it holds {_listed(unread)}" if unread else ""
        raise DataError(f"{folder}: holds no .json or .jsonl file, CSV, TSV or Parquet{others}")
    return [_file_part(path, folder.absolute(), is_chosen=False) for path in found], unread


def _files_below(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those in it, linked ones too, in order; what archivers and
    editors leave behind is not among them."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror or error}") from None

    seen: set[Path] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        if (real := Path(place).resolve()) in seen:
            folders.clear()  # a link to where we came from
            continue
        seen.add(real)
        if {"dataset_dict.json", "state.json"} & set(names):
            raise DataError(
                f"{place}: is a data set that `datasets` saved; name it itself as the dataset"
            )
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
        yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))


def _refuse_unread_split(path: Path) -> None:
    """DataError for data in a form that is not read, under a split's name: another part would be
    taken in its place."""
    if path.suffix.lower() in _PACKED_DATA and split_names.split_named_in(path.stem):
        raise DataError(
            f"{path}: its name says a split, but files that end in {path.suffix!r} are not read; "
            "unpack it, or save it as JSON, CSV or Parquet"
        )


_DESCRIPTIONS = ("dataset_infos.json", "dataset_info.json", "state.json")


def _file_part(path: Path, root: Path, *, is_chosen: bool) -> Part:
    label = None
    absolute = path.absolute()
    inside = absolute.relative_to(root).parts if not is_chosen else (path.name,)
    for place in (files.stem_of(path), *reversed(inside[:-1])):  # the file's own name comes first
        if label := split_names.split_named_in(place, is_chosen=is_chosen):
            break
    name = split_names.dataset_name(
        absolute, root.parent if not is_chosen else absolute.parent.parent
    )

    def read(unused: Counter[str]) -> list[Example]:
        return read_file(path, name, unused)

    return Part(label, str(path), str(path), is_chosen, read)


# ---------------------------------------------------------------------- data sets
def _is_saved_dataset(path: Path) -> bool:
    """A directory that `datasets` wrote with `save_to_disk`."""
    if (path / "dataset_dict.json").is_file():
        return True
    return (path / "dataset_info.json").is_file() and any(path.glob("*.arrow"))


def _parts_of_tables(name: str) -> list[Part]:
    tables = _load_tables(name)
    if len(tables) == 1 and set(tables) == {"train"}:  # what `datasets` calls a lone split
        tables = {None: tables["train"]}
    short = re.sub(r":.*", "", Path(name).name)
    return [_table_part(name, short, split, table) for split, table in tables.items()]


def _table_part(name: str, short: str, split: str | None, table: Any) -> Part:
    where = f"{name}/{split or 'train'}"

    def rows() -> Iterator[Row]:
        try:
            for number, record in enumerate(table, start=1):
                yield Row(f"{where}:{number}", record)
        except Exception as error:  # a column's decoder raises what it likes
            raise DataError(f"{where}: cannot be read: {first_line(error)}") from error

    def read(unused: Counter[str]) -> list[Example]:
        examples = parse_rows(rows(), short, where, unused)
        if not examples:
            raise DataError(f"{where}: holds no records")
        return examples

    return Part(split, where, name, False, read)


def _load_tables(name: str) -> dict[str | None, Any]:
    """The splits of a Hugging Face data set: an id, with `:config` after it where it has several,
    or a directory that `save_to_disk` wrote."""
    import datasets  # seconds to import, and only Hugging Face sources need it

    try:
        if exists(name):
            loaded: Any = datasets.load_from_disk(str(Path(name).expanduser()))
        else:
            place, subset = hub_name(name)
            loaded = datasets.load_dataset(place, subset)
    except Exception as error:  # datasets raises a dozen kinds for "not there"
        raise DataError(
            f"dataset = {name[:_LONGEST_NAME]!r} is neither a file or directory here nor a data "
            f"set that can be loaded: {first_line(error)[:_LONGEST_REASON]}"
        ) from error
    tables = loaded if isinstance(loaded, dict) else {"train": loaded}
    return _by_split(name, tables)


def _by_split(name: str, tables: dict[str, Any]) -> dict[str | None, Any]:
    named: dict[str | None, Any] = {}
    for split, table in tables.items():
        label = split_names.split_named_in(split) or split
        if label in named:
            raise DataError(f"dataset = {name!r} has two splits for {label}: {', '.join(tables)}")
        named[label] = table
    return named


def hub_name(name: str) -> tuple[str, str | None]:
    """The id of a Hugging Face data set and its configuration: `ORG/NAME:CONFIG`."""
    place, _, subset = name.partition(":")
    return place, subset or None
