"""Data sources: which files, folders and Hugging Face data sets give which split.

Parts are used as their names say: `nq/train.jsonl`, `dev.jsonl` and `test.jsonl` of one folder are
a training, a validation and a test split. A source whose parts name no split is one split.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.config.run_config import exists, is_path
from agent.errors import DataError, first_line
from agent.training.data_formats import Example, parse_rows, read_file
from agent.training.reading import files
from agent.training.reading.files import Row

_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {word: split for split, words in _SPLIT_WORDS.items() for word in words}
_SHARD = re.compile(r"\d+[-_]of[-_]\d+")


@dataclass(frozen=True)
class Part:
    """One file, or one split of a data set. `named` is what it was found as by its user."""

    label: str | None  # the split that its name says
    where: str
    named: str
    is_chosen: bool  # a file that the config names itself
    read: Callable[[], list[Example]]


@dataclass(frozen=True)
class Source:
    """The splits of a `dataset` value by name, each its parts; None where no part names one."""

    name: str
    parts: dict[str | None, list[Part]]
    unread: tuple[str, ...] = ()  # files of a folder that hold no records by their suffix

    def examples(self, split: str | None) -> list[Example]:
        return [example for part in self.parts.get(split, ()) for example in part.read()]

    def notes(self) -> list[str]:
        """What was found, in a line each: the parts of each split and files that are not read."""
        lines = []
        if set(self.parts) != {None}:
            lines = [
                f"{self.name}: {split} from {', '.join(part.where for part in parts)}"
                for split, parts in self.parts.items()
            ]
        if self.unread:
            lines.append(f"{self.name}: not read: {', '.join(self.unread)}")
        return lines


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
def _parts_of_folder(folder: Path) -> tuple[list[Part], list[str]]:
    """Every file with records below a folder, sub-folders included, and the names of the others."""
    found: list[Path] = []
    unread: list[str] = []
    try:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if any(part.startswith(".") for part in inside.parts) or not path.is_file():
                continue
            if not files.is_readable(path) or inside.name in _DESCRIPTIONS:
                unread.append(str(inside))
            elif path.name.endswith(".gz") and path.with_name(path.name[:-3]).is_file():
                unread.append(f"{inside} (its unpacked form is beside it)")
            else:
                found.append(path)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror or error}") from None
    if not found:
        others = f"; it holds {', '.join(unread[:10])}" if unread else ""
        raise DataError(f"{folder}: holds no .json or .jsonl file, CSV, TSV or Parquet{others}")
    return [_file_part(path, folder.absolute(), is_chosen=False) for path in found], unread


_DESCRIPTIONS = ("dataset_infos.json", "dataset_info.json", "state.json")


def _file_part(path: Path, root: Path, *, is_chosen: bool) -> Part:
    label = None
    absolute = path.absolute()
    inside = absolute.relative_to(root).parts if not is_chosen else (path.name,)
    for place in (files.stem_of(path), *reversed(inside[:-1])):  # the file's own name comes first
        if label := split_named_in(place):
            break
    name = _dataset_name(absolute, root.parent if not is_chosen else absolute.parent.parent)

    def read() -> list[Example]:
        return read_file(path, name)

    return Part(label, str(path), str(path), is_chosen, read)


def split_named_in(name: str) -> str | None:
    """The split that a file's or folder's name says, in a word of its own. DataError for two."""
    found = {_SPLIT_OF[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _SPLIT_OF}
    if len(found) > 1:
        raise DataError(
            f"{name}: its name says more than one split ({', '.join(sorted(found))}); rename it"
        )
    return found.pop() if found else None


def _dataset_name(path: Path, top: Path) -> str:
    """The data set a file belongs to: its name without split and shard, else its folder's."""
    for name in (files.stem_of(path), *(p.name for p in path.parents if top in p.parents)):
        words = [w for w in re.split(r"([-_. ]+)", _SHARD.sub("", name)) if w]
        kept = [w for w in words if w.lower() not in _SPLIT_OF]
        if text := re.sub(r"([-_. ])[-_. ]+", r"\1", "".join(kept)).strip("-_. "):
            return text
    return files.stem_of(path)


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

    def read() -> list[Example]:
        rows: Iterable[Row] = (Row(f"{where}:{i}", row) for i, row in enumerate(table, start=1))
        examples = parse_rows(rows, short, where)
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
        label = _SPLIT_OF.get(split.lower(), split)
        if label in named:
            raise DataError(f"dataset = {name!r} has two splits for {label}: {', '.join(tables)}")
        named[label] = table
    return named


def hub_name(name: str) -> tuple[str, str | None]:
    """The id of a Hugging Face data set and its configuration: `ORG/NAME:CONFIG`."""
    place, _, subset = name.partition(":")
    return place, subset or None
