"""Records of tables: CSV and TSV, Parquet, Arrow."""

import ast
import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from agent.errors import DataError, first_line
from agent.training.reading.rows import Row, Rows

_STRUCTURED_COLUMNS = ("golden_answers", "messages", "conversations", "metadata", "history")


def delimited_rows(path: Path, text: str, delimiter: str) -> Rows:
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
            if len(set(filter(None, names))) != len(list(filter(None, names))):
                raise DataError(f"{path}:{begin}: names a column twice: {', '.join(names)}")
        elif len(cells) != len(names):
            yield DataError(f"{path}:{begin}: has {len(cells)} cells, the header {len(names)}")
        else:
            filled = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
            try:
                yield Row(f"{path}:{begin}", {n: _cell(n, value) for n, value in filled.items()})
            except ValueError as error:
                yield DataError(f"{path}:{begin}: {error}")


def _cell(name: str, text: str) -> object:
    """A cell's value: columns that hold lists or objects are written as JSON or Python.

    ValueError for what was such a list once, as numpy prints one.
    """
    if name in _STRUCTURED_COLUMNS:
        return structured(text) if is_structured(text) else _plain_cell(text)
    return text


def is_structured(text: str) -> bool:
    """True for what is written like a list or an object."""
    return text.strip()[:1] + text.strip()[-1:] in ("[]", "{}")


def structured(text: str) -> object:
    """A list or an object written as JSON or Python. ValueError for neither."""
    readers: tuple[Callable[[str], Any], ...] = (json.loads, ast.literal_eval)
    for read in readers:
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    raise ValueError(f"holds a list or an object that cannot be read: {text[:60]!a}")


def _plain_cell(text: str) -> str:
    if re.match(r"\s*(array|Series|tensor)\s*\(", text):
        raise ValueError(f"holds what a program printed, not a list: {text[:60]!a}")
    return text


def parquet_rows(path: Path, content: bytes) -> Rows:
    import pyarrow.parquet

    return _column_rows(
        path, "Parquet", lambda: pyarrow.parquet.ParquetFile(io.BytesIO(content)).iter_batches()
    )


def arrow_rows(path: Path, content: bytes) -> Rows:
    """Arrow's file format, which Feather is too, or its stream, as `datasets` writes it."""
    import pyarrow.ipc

    def batches() -> Iterator[Any]:
        if content[:6] != b"ARROW1":
            yield from pyarrow.ipc.open_stream(content)
            return
        file = pyarrow.ipc.open_file(content)
        yield from map(file.get_batch, range(file.num_record_batches))

    return _column_rows(path, "Arrow", batches)


def _column_rows(path: Path, form: str, batches: Callable[[], Iterable[Any]]) -> Rows:
    import pyarrow

    try:
        number = 0
        for batch in batches():
            batch.validate(full=True)  # its lengths and texts are not checked when it is read
            for record in batch.to_pylist():
                number += 1
                yield Row(f"{path}:{number}", {n: _value(v) for n, v in record.items()})
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, SystemError) as error:
        raise DataError(f"{path}: cannot be read as {form}: {first_line(error)}") from None


def _value(value: object) -> object:
    """pandas writes NaN for a cell without a value."""
    return None if isinstance(value, float) and math.isnan(value) else value
