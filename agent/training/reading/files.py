"""Records of one file: JSON, JSON lines, CSV, TSV, Parquet or Arrow, plain or compressed.

The only reader of data files: training, probe, prepare, check and reports all come here. A record
that cannot be read is handed on as a DataError in its place, so that a caller can list several
faults together; a file that cannot be read at all raises one.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

from agent.errors import DataError, first_line
from agent.training.reading import json_rows, tables
from agent.training.reading.rows import Rows

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson", ".jsonlines")
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".arrow", ".feather")
SUFFIXES = (*JSON_SUFFIXES, *TABLE_SUFFIXES)
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_LFS_POINTER = b"version https://git-lfs.github.com"


def _unpack_zstd(content: bytes) -> bytes:
    import pyarrow

    with pyarrow.input_stream(io.BytesIO(content), compression="zstd") as stream:
        return bytes(stream.read())


_PACKERS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "Zstandard"}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zst": _unpack_zstd,
}


def packing_of(path: Path) -> str:
    """The suffix that says how a file is compressed; empty for a plain one."""
    return path.suffix.lower() if path.suffix.lower() in PACKED else ""


def unpacked_name(path: Path) -> str:
    return path.name[: len(path.name) - len(packing_of(path))]


def suffix_of(path: Path) -> str:
    """The suffix that says how a file is read, without that of its compression."""
    return Path(unpacked_name(path)).suffix.lower()


def stem_of(path: Path) -> str:
    """The name without the suffix and without that of its compression."""
    return Path(unpacked_name(path)).stem


def is_readable(path: Path) -> bool:
    return suffix_of(path) in SUFFIXES


def rows_of(path: Path) -> Rows:
    """Every record of a file in order, faults in their places. DataError when it holds none."""
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        what = f"files that end in {suffix!r}" if suffix else "files without a suffix"
        raise DataError(
            f"{path}: {what} are not read; known: "
            f"{', '.join(SUFFIXES)}, each also with {', '.join(PACKED)}"
        )
    empty = True
    for row in _read(path, suffix):
        empty = False
        yield row
    if empty:
        raise DataError(f"{path}: holds no records")


def _read(path: Path, suffix: str) -> Rows:
    content = _content_of(path)
    if content.startswith(_LFS_POINTER):
        raise DataError(f"{path}: is Git LFS's note on a file, not the file; run `git lfs pull`")
    if suffix == ".parquet":
        return tables.parquet_rows(path, content)
    if suffix in (".arrow", ".feather"):
        return tables.arrow_rows(path, content)
    text = _decode(path, content)
    if suffix in (".csv", ".tsv"):
        return tables.delimited_rows(path, text, "\t" if suffix == ".tsv" else ",")
    return json_rows.rows(path, text)


def _content_of(path: Path) -> bytes:
    packing = packing_of(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not packing:
        return content
    try:
        return PACKED[packing](content)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise DataError(
            f"{path}: is not a whole {_PACKERS[packing]} file: {first_line(error)}"
        ) from None


def _decode(path: Path, content: bytes) -> str:
    if content[:2] in _UTF16_MARKS:
        raise DataError(f"{path}: is UTF-16 text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: is not UTF-8 text") from None
