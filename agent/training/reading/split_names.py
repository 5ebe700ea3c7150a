"""What names of files, folders and splits say: a split, and the data set that they belong to."""

import re
from itertools import pairwise
from pathlib import Path

from agent.errors import DataError
from agent.training.reading import files

_SPLIT_WORDS = {
    "train": ("train", "training", "trn", "训练"),
    "validation": (
        *("validation", "validate", "valid", "val", "dev", "development", "eval", "evaluation"),
        *("验证", "开发"),
    ),
    "test": ("test", "testing", "tst", "测试"),
}
_SPLIT_OF = {
    f"{word}{ending}": split
    for split, words in _SPLIT_WORDS.items()
    for word in words
    for ending in ("", "set", "data", "split", "集")
}
# Held out, but for validation or for the test: their user has to say.
_UNCLEAR = ("holdout", "heldout", "blind", "hidden", "unseen")
_SHARD = re.compile(r"\d+[-_]of[-_]\d+")


def split_named_in(name: str, *, is_chosen: bool = False) -> str | None:
    """The split that a file's or folder's name says, in a word of its own (`nqTrain` holds two).

    DataError for a name that says two, or that only says that something is held out: except of a
    file that its user has named.
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [word for word in re.split(r"[\W\d_]+", spaced.lower()) if word]
    found = {_SPLIT_OF[word] for word in words if word in _SPLIT_OF}
    if len(found) > 1:
        raise DataError(
            f"{name}: its name says more than one split ({', '.join(sorted(found))}); rename it"
        )
    compounds = [*words, *(first + second for first, second in pairwise(words))]
    if not found and not is_chosen and any(word in _UNCLEAR for word in compounds):
        raise DataError(
            f"{name}: its name says that it is held out, but not whether for validation or for the "
            "test; rename it, or name the files that you mean, with commas"
        )
    return found.pop() if found else None


def dataset_name(path: Path, top: Path) -> str:
    """The data set a file belongs to: its name without split and shard, else its folder's."""
    for name in (files.stem_of(path), *(p.name for p in path.parents if top in p.parents)):
        parts = re.split(r"([-_. ]+|(?<=[a-z])(?=[A-Z]))", _SHARD.sub("", name))
        kept = [w for w in parts if w and w.lower().rstrip("0123456789") not in _SPLIT_OF]
        if text := re.sub(r"([-_. ])[-_. ]+", r"\1", "".join(kept)).strip("-_. "):
            return text
    return files.stem_of(path)
