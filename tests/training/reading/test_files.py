"""Every form of file that people hold, and every way one can be damaged."""

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from agent.errors import DataError
from agent.training.data_formats import read_file
from agent.training.reading import files, rows

ROWS = [{"instruction": f"q{i}", "output": f"a{i}"} for i in range(4)]


def records(path: Path) -> list[Any]:
    found = []
    for row in files.rows_of(path):
        assert isinstance(row, rows.Row), row
        found.append(row.record)
    return found


def faults(path: Path) -> list[str]:
    return [str(row) for row in files.rows_of(path) if isinstance(row, DataError)]


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


FORMS = {
    "array.json": json.dumps(ROWS),
    "two_arrays.json": json.dumps(ROWS[:2]) + "\n" + json.dumps(ROWS[2:]),
    "glued_arrays.json": json.dumps(ROWS[:2]) + json.dumps(ROWS[2:]),
    "lines.jsonl": "\n".join(map(json.dumps, ROWS)),
    "lines_named.json": "\n".join(map(json.dumps, ROWS)),
    "windows.jsonl": "\r\n".join(map(json.dumps, ROWS)) + "\r\n",
    "marked.jsonl": "\ufeff" + "\n".join(map(json.dumps, ROWS)),
    "printed.json": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "wrapped.json": json.dumps({"version": "1", "data": ROWS}),
    "table.csv": "instruction,output\n" + "".join(f"q{i},a{i}\n" for i in range(4)),
    "semicolons.csv": "instruction;output\n" + "".join(f"q{i};a{i}\n" for i in range(4)),
    "table.tsv": "instruction\toutput\n" + "".join(f"q{i}\ta{i}\n" for i in range(4)),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("packing", ["", ".gz", ".bz2", ".xz", ".zst"])
def test_every_form_of_the_same_records_reads_the_same(
    tmp_path: Path, name: str, packing: str
) -> None:
    path = write(tmp_path / name, FORMS[name])
    if packing:
        packed = tmp_path / f"{name}{packing}"
        packed.write_bytes(pack(packing, path.read_bytes()))
        path = packed
    assert records(path) == ROWS
    if packing:
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(DataError, match="is not a whole"):
            records(path)


def pack(packing: str, content: bytes) -> bytes:
    import pyarrow

    if packing == ".zst":
        return bytes(pyarrow.compress(content, codec="zstd", asbytes=True))
    if packing == ".gz":
        return gzip.compress(content)
    return bz2.compress(content) if packing == ".bz2" else lzma.compress(content)


@pytest.mark.parametrize("form", ["file", "stream"])
def test_arrow_reads_the_same(tmp_path: Path, form: str) -> None:
    import pyarrow

    table = pyarrow.Table.from_pylist([{**row, "input": float("nan")} for row in ROWS])
    path = tmp_path / "rows.arrow"
    opened = pyarrow.ipc.new_file if form == "file" else pyarrow.ipc.new_stream
    with opened(str(path), table.schema) as writer:
        writer.write_table(table)
    assert records(path) == [{**row, "input": None} for row in ROWS]
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"rows\.arrow: cannot be read as Arrow"):
        records(path)


def test_parquet_reads_the_same(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{**row, "golden_answers": ["x", "y"]} for row in ROWS]
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), str(path))
    assert records(path) == rows
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"rows\.parquet: cannot be read as Parquet"):
        records(path)


def test_a_line_separator_of_unicode_inside_an_answer_ends_no_record(tmp_path: Path) -> None:
    row = {"instruction": "q", "output": "one\u2028two\x85three"}
    path = write(tmp_path / "a.jsonl", json.dumps(row, ensure_ascii=False) + "\n")
    assert records(path) == [row]


def test_pandas_not_a_number_is_a_missing_value(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '[{"instruction": "q", "input": NaN, "output": "a"}]')
    assert read_file(path)[0].messages == (("user", "q"),)


def test_a_table_cell_may_hold_line_breaks_and_lists(tmp_path: Path) -> None:
    text = 'question,golden_answers\n"two\nlines","[""Ada"", ""Lovelace""]"\nq,Ada\n'
    examples = read_file(write(tmp_path / "nq.csv", text))
    assert examples[0].messages == (("user", "two\nlines"),)
    assert [e.answers for e in examples] == [("Ada", "Lovelace"), ("Ada",)]
    assert [e.id for e in examples] == ["nq:2", "nq:4"]


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        (
            "a.json",
            "[" + json.dumps(ROWS[0]) + ", {bad}]",
            r"a\.json:1: is not JSON: .*\(record 2\)",
        ),
        ("a.json", json.dumps(ROWS) + " trailing", r"a\.json:1: has text after the end"),
        ("a.json", '[{"a": 1} {"a": 2}]', r"no comma before it \(record 2\)"),
        ("a.json", '[{"a": 1},, {"a": 2}]', "is not JSON"),
        ("a.jsonl", '{"a": 1}\n{"a": \n{"a": 3}', r"a\.jsonl:2: is not JSON"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", r"a\.csv:3: has 3 cells, the header 2"),
        ("a.csv", 'a,b\n1,"2\n', r"a\.csv:2: is not a table row"),
        ("a.json", "[" * 100_000, "is not JSON"),
        ("a.json", '[{"a": 1, "a": 2}]', r"an object names 'a' twice \(record 1\)"),
        ("a.jsonl", '{"b": 1}\n{"a": {"c": 1, "c": 2}}', r"a\.jsonl:2: .* names 'c' twice"),
        ("a.json", '[{"a": ' + "9" * 5000 + "}]", r"a number has 5000 digits \(record 1\)"),
        ("a.json", '[{"a": -Infinity}]', "-Infinity is not a JSON value"),
        ("a.csv", "question,golden_answers\nq,array(['a' 'b'])\n", "what a program printed"),
        ("a.csv", "question,golden_answers\nq,['a' b]\n", "a list or an object that cannot"),
    ],
)
def test_a_fault_names_file_and_record(tmp_path: Path, name: str, text: str, fault: str) -> None:
    import re

    found = faults(write(tmp_path / name, text))
    assert any(re.search(fault, each) for each in found), found


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.xlsx", b"PK", r"'\.xlsx' are not read; known: \.json"),
        ("a.json", json.dumps(ROWS).encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        ("a.json.gz", b"no gzip", "is not a whole gzip file"),
        ("a.json.gz", gzip.compress(b"[1, 2, 3]", mtime=0)[:-6], "is not a whole gzip file"),
        ("a.json", b"version https://git-lfs.github.com/spec/v1\noid", "run `git lfs pull`"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid", "run `git lfs pull`"),
        ("a", b"[]", "files without a suffix are not read"),
        ("a.csv", b"a,a\n1,2\n", "names a column twice"),
        ("a.csv", b"a,b\n", "holds no records"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, name: str, content: bytes, fault: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=fault):
        list(files.rows_of(tmp_path / name))


def test_the_first_twenty_faults_are_listed_together(tmp_path: Path) -> None:
    rows = [{"instruction": i, "output": "x"} for i in range(30)] + [ROWS[0]]
    path = write(tmp_path / "a.json", json.dumps(rows))
    with pytest.raises(DataError) as caught:
        read_file(path)
    head, *listed = str(caught.value).splitlines()
    assert head == f"{path}: 30 faults, the first 20:"
    assert len(listed) == 20
    assert listed[1] == f"  - {path}:1: instruction is 1, not a text (record 2)"
