"""Records of JSON text: an array, arrays that follow each other, or one object after the other."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.errors import DataError
from agent.training.reading.rows import Row, Rows

_MOST_DIGITS = 300  # of a whole number; no id and no count has more


def rows(path: Path, text: str) -> Rows:
    """Every record of a file's text in order, faults in their places."""
    return _array_rows(path, text) if text.lstrip()[:1] == "[" else _line_rows(path, text)


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. ValueError for a name that stands in it twice: either value could be meant."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object names {twice[:40]!a} twice")
    return found


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _constant(name: str) -> None:
    """pandas writes NaN for a cell without a value. ValueError for an infinite number."""
    if name != "NaN":
        raise ValueError(f"{name} is not a JSON value")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object_of, parse_int=_whole_number, parse_constant=_constant
)


def _line_rows(path: Path, text: str) -> Rows:
    """JSON lines, or objects one after the other that are printed over several lines."""
    # A raw line break cannot stand inside a JSON string; U+2028 can, so splitlines would be wrong.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if text.lstrip()[:1] == "{" and not _is_json(next(line for line in lines if line.strip())):
        printed = list(_value_rows(path, text))
        if any(isinstance(row, Row) for row in printed):
            yield from printed
            return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield from _unwrapped(
                    Row(f"{path}:{number}", _DECODER.decode(line)), len(lines) < 3
                )
            except (ValueError, RecursionError) as error:
                yield DataError(f"{path}:{number}: is not JSON: {error}")


def _is_json(line: str) -> bool:
    try:
        _DECODER.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def _value_rows(path: Path, text: str) -> Rows:
    position, number = 0, 0
    while (position := _after_space(text, position)) < len(text):
        number += 1
        line = text.count("\n", 0, position) + 1
        try:
            record, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            yield DataError(f"{path}:{line}: is not JSON: {error} (record {number})")
            return
        alone = number == 1 and _after_space(text, position) == len(text)
        yield from _unwrapped(Row(f"{path}:{line}", record, number), alone)


def _unwrapped(row: Row, alone: bool) -> Rows:
    """The records of a file that holds one object around their list, as {"data": [...]} does."""
    if alone and isinstance(row.record, Mapping):
        lists = [v for v in row.record.values() if isinstance(v, list) and v]
        is_wrapper = len(lists) == 1 and not _OWN_FIELDS & set(row.record)
        if is_wrapper and all(isinstance(item, Mapping) for item in lists[0]):
            for number, record in enumerate(lists[0], start=1):
                yield Row(row.where, record, number)
            return
    yield row


_OWN_FIELDS = {"messages", "conversations", "golden_answers", "history", "instruction", "output"}


def _array_rows(path: Path, text: str) -> Rows:
    """Walk arrays one element at a time, so that every record knows its line and number.

    Arrays that follow each other are one list; anything else after an array is a fault.
    """
    position = _after_space(text, 0) + 1
    line, counted, number, after_comma = 1, 0, 0, True
    while True:
        position = _after_space(text, position)
        line += text.count("\n", counted, position)
        counted = position
        if position >= len(text):
            yield DataError(f"{path}:{line}: the array is not closed; is the file complete?")
            return
        if text[position] == "]":
            position = _after_space(text, position + 1)
            if position >= len(text):
                return
            if text[position] != "[":
                line += text.count("\n", counted, position)
                yield DataError(f"{path}:{line}: has text after the end of its array")
                return
            position, after_comma = position + 1, True
            continue
        if text[position] == "," and not after_comma:
            position, after_comma = position + 1, True
            continue
        number += 1
        if not after_comma:
            yield DataError(f"{path}:{line}: is not JSON: no comma before it (record {number})")
            return
        try:
            record, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            at = line + text.count("\n", counted, getattr(error, "pos", counted))
            yield DataError(f"{path}:{at}: is not JSON: {error} (record {number})")
            return
        after_comma = False
        yield Row(f"{path}:{line}", record, number)


def _after_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position
