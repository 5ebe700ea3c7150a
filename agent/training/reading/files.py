"""Records of one file: JSON, JSON lines, CSV, TSV or Parquet, plain or compressed with gzip.

The only reader of data files: training, probe, prepare, check and reports all come here. A record
that cannot be read is handed on as a DataError in its place, so that a caller can list several
faults together; a file that cannot be read at all raises one.
"""

import ast
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import DataError

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson", ".jsonlines")
SUFFIXES = (*JSON_SUFFIXES, ".csv", ".tsv", ".parquet")
MOST_FAULTS = 20  # listed together
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_STRUCTURED_COLUMNS = ("golden_answers", "messages", "conversations", "metadata", "history")


@dataclass(frozen=True)
class Row:
    """A record and its place: file and line, with the record's number where lines do not tell."""

    where: str
    record: object
    number: int | None = None


Rows = Iterator[Row | DataError]


def suffix_of(path: Path) -> str:
    """The suffix that says how a file is read, without `.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def stem_of(path: Path) -> str:
    """The name without `.gz` and without the suffix."""
    return Path(path.name[:-3] if path.name.lower().endswith(".gz") else path.name).stem


def is_readable(path: Path) -> bool:
    return suffix_of(path) in SUFFIXES


def rows_of(path: Path) -> Rows:
    """Every record of a file in order, faults in their places. DataError when it holds none."""
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: files that end in {suffix or 'nothing'!r} are not read; known: "
            f"{', '.join(SUFFIXES)}, each also with .gz"
        )
    empty = True
    for row in _read(path, suffix):
        empty = False
        yield row
    if empty:
        raise DataError(f"{path}: holds no records")


def _read(path: Path, suffix: str) -> Rows:
    content = _content_of(path)
    if suffix == ".parquet":
        return _parquet_rows(path, content)
    text = _decode(path, content)
    if suffix in (".csv", ".tsv"):
        return _table_rows(path, text, "\t" if suffix == ".tsv" else ",")
    if text.lstrip()[:1] == "[":
        return _array_rows(path, text)
    return _line_rows(path, text)


def _content_of(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.name.lower().endswith(".gz") else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: is not a whole gzip file: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def _decode(path: Path, content: bytes) -> str:
    if content[:2] in _UTF16_MARKS:
        raise DataError(f"{path}: is UTF-16 text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: is not UTF-8 text") from None


# ---------------------------------------------------------------------- JSON
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
                yield from _unwrapped(Row(f"{path}:{number}", json.loads(line)), len(lines) < 3)
            except (ValueError, RecursionError) as error:
                yield DataError(f"{path}:{number}: is not JSON: {error}")


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _value_rows(path: Path, text: str) -> Rows:
    decoder, position, number = json.JSONDecoder(), 0, 0
    while (position := _after_space(text, position)) < len(text):
        number += 1
        line = text.count("\n", 0, position) + 1
        try:
            record, position = decoder.raw_decode(text, position)
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
    decoder = json.JSONDecoder()
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
            record, position = decoder.raw_decode(text, position)
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


# ---------------------------------------------------------------------- tables
def _table_rows(path: Path, text: str, delimiter: str) -> Rows:
    """CSV or TSV with a header line. Empty cells are missing values."""
    head = text.split("\n", 1)[0]
    if delimiter not in head:  # spreadsheets of some countries write semicolons
        delimiter = next((mark for mark in ";\t," if mark in head), delimiter)
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    end = 0
    while True:
        begin = end + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield DataError(f"{path}:{begin}: is not a table row: {error}")
            return
        end = reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = [cell.strip() for cell in cells]
            if len(set(names)) != len(names):
                raise DataError(f"{path}:{begin}: names a column twice: {', '.join(names)}")
        elif len(cells) != len(names):
            yield DataError(f"{path}:{begin}: has {len(cells)} cells, the header {len(names)}")
        else:
            filled = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
            yield Row(f"{path}:{begin}", {n: _cell(n, value) for n, value in filled.items()})


def _cell(name: str, text: str) -> object:
    """A cell's value: columns that hold lists or objects are written as JSON or Python."""
    if name in _STRUCTURED_COLUMNS and text.lstrip()[:1] in ("[", "{"):
        readers: tuple[Callable[[str], Any], ...] = (json.loads, ast.literal_eval)
        for read in readers:
            try:
                return read(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
    return text


def _parquet_rows(path: Path, content: bytes) -> Rows:
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
        number = 0
        for batch in file.iter_batches():
            for record in batch.to_pylist():
                number += 1
                yield Row(f"{path}:{number}", record)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read as Parquet: {reason}") from None


# ---------------------------------------------------------------------- faults
def raise_faults(faults: list[DataError], source: str) -> None:
    """DataError with the first twenty faults, or with the only one; nothing when there is none."""
    if not faults:
        return
    if len(faults) == 1:
        raise faults[0]
    listed = [f"  - {fault}" for fault in faults[:MOST_FAULTS]]
    more = f", the first {MOST_FAULTS}" if len(faults) > MOST_FAULTS else ""
    raise DataError("\n".join([f"{source}: {len(faults)} faults{more}:", *listed]))
