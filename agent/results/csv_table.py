"""The table of runs as CSV: what the report writes, and what a user may write by hand.

A hand-made table needs `model_variant` and the score; `run_id` and `state` may be left out, other
columns may be anything. Scores are shares of 1, or percent in the whole column.
"""

import ast
import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from agent.config.point_values import as_read
from agent.config.run_config import RunConfig
from agent.errors import ReportError
from agent.results.columns import COLUMNS, CURVE, CURVES, SCORE, is_score
from agent.results.run_table import (
    OWN_COLUMNS,
    Row,
    Scalar,
    plain_collection,
    plain_values,
    sorted_curves,
)


def parse_scalar(text: str) -> Scalar | None:
    """A CSV cell: blank is missing, a number is a number, all else is text.

    Lists and objects that Python or JSON wrote become what a row holds them as.
    """
    word = text.strip()
    if not word or word.lower() == "nan":
        return None
    if word[0] in "[{":
        return _collection(word)
    if word in ("True", "False", "true", "false"):
        return word.lower() == "true"
    try:
        number = float(word)
    except ValueError:
        return word
    is_whole = number.is_integer() and abs(number) < 2**53
    return int(number) if is_whole and not set(word) & set(".eE") else number


def _collection(word: str) -> str:
    try:
        value = ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return word
    return plain_collection(value) if isinstance(value, list | tuple | dict) else word


def read_csv(text: str, *, where: str = "the table") -> tuple[Row, ...]:
    """Rows of a CSV whose columns are config and metric keys, and run_id and state.

    Without run_id a run is called by its line, without state it is finished if it has a score.
    Raises ReportError that names missing columns, repeated run ids and unreadable scores together.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), delimiter=_delimiter(text))
    reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
    _require_columns(reader.fieldnames, where)
    rows, problems = [], []
    for number, record in enumerate(reader, start=2):
        cells = {k: v for k, v in record.items() if isinstance(k, str) and isinstance(v, str)}
        if not any(cell.strip() for cell in cells.values()):
            continue
        if None in record:
            problems.append(f"line {number} has more cells than there are columns")
        values = {k: s for k, v in cells.items() if (s := _cell(k, v)) is not None}
        problems += _faults(number, cells, values)
        rows.append(_row(number, cells, values))
    ids = [(row.project, row.run_id) for row in rows]
    problems += [
        f"run_id {i!r} stands twice" for _, i in sorted({i for i in ids if ids.count(i) > 1})
    ]
    if not problems:
        rows, problems = _as_shares(rows)
    if problems:
        raise ReportError(f"{where}: " + "; ".join(problems))
    return tuple(rows)


def _delimiter(text: str) -> str:
    """Spreadsheets of some countries write semicolons."""
    head = text.partition("\n")[0]
    return ";" if head.count(";") > head.count(",") else ","


def _require_columns(names: Sequence[str], where: str) -> None:
    """ReportError when no run could be compared by these columns, or one stands twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ReportError(f"{where} has the column {twice[0]!r} twice")
    if "model_variant" in names:
        if not {SCORE, CURVE} & set(names):
            others = ", ".join(name for name in names if name not in OWN_COLUMNS)
            raise ReportError(
                f"{where} has no column {SCORE}, the score that runs are compared by; rename the "
                f"one that holds it (there are: {others})"
            )
        return
    missing = [name for name in ("run_id", "state") if name not in names]
    if missing:
        raise ReportError(
            f"{where} has no column {' and no column '.join(missing)}, and none model_variant; it "
            f"needs model_variant, quantization_strategy, learning_rate and {SCORE}"
        )


def _row(number: int, cells: Mapping[str, str], values: Mapping[str, Scalar]) -> Row:
    own = {name: cells.get(name, "").strip() for name in OWN_COLUMNS}
    settings = _as_read({k: v for k, v in values.items() if k not in OWN_COLUMNS})
    if SCORE not in settings and CURVE in settings:
        settings[SCORE] = settings[CURVE]
    tags = frozenset(t.strip() for t in own["tags"].split(",") if t.strip())
    state = own["state"].lower() or ("finished" if SCORE in settings else "unknown")
    run_id = own["run_id"] or f"line {number}"
    return Row(run_id, state, settings, own["project"], own["name"], tags)


def _as_read(settings: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The keys of a run's config as the run itself reads them: `none` means None."""
    read = as_read({k: v for k, v in settings.items() if k in RunConfig.model_fields})
    return {**{k: v for k, v in settings.items() if k not in read}, **plain_values(read)}


def _cell(key: str, text: str) -> Scalar | None:
    """A cell's value; a score may be written with its percent sign."""
    word = text.strip()
    if is_score(key) and word.endswith("%"):
        value = parse_scalar(word.removesuffix("%"))
        return value / 100 if isinstance(value, int | float) else word
    return parse_scalar(text)


def _faults(number: int, cells: Mapping[str, str], values: Mapping[str, Scalar]) -> list[str]:
    has_no_id = "run_id" in cells and not cells["run_id"].strip()
    faults = [f"line {number} has no run_id"] if has_no_id else []
    metrics = {column.key for column in COLUMNS} | set(CURVES)
    return faults + [
        f"line {number}: {key} = {value!r} is not a number"
        for key, value in values.items()
        if (key in metrics or is_score(key)) and isinstance(value, str)
    ]


def _as_shares(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows with scores as shares of 1; a column that is percent throughout is divided."""
    problems = []
    percent = set()
    for key in sorted({key for row in rows for key in row.values if is_score(key)}):
        known = [value for row in rows if (value := row.number(key)) is not None]
        if known and (min(known) < 0 or max(known) > 100):
            odd = min(known) if min(known) < 0 else max(known)
            problems.append(f"{key} = {odd:g} is not a score: a share of 1, or percent")
        elif known and max(known) > 1:
            small = [value for value in known if 0 < value <= 1]
            if small:
                problems.append(
                    f"{key} mixes shares of 1 and percent ({small[0]:g} and {max(known):g})"
                )
            percent.add(key)
    return [_divided(row, percent) for row in rows], problems


def _divided(row: Row, keys: Collection[str]) -> Row:
    scores = {key: value / 100 for key in keys if (value := row.number(key)) is not None}
    return replace(row, values={**row.values, **scores})


def write_csv(rows: Sequence[Row]) -> str:
    """The table as `read_csv` reads it: own columns first, then config, then metrics; the score's
    column even where no run has one yet."""
    found = {SCORE, *(key for row in rows for key in row.values)}
    keys = sorted(found, key=lambda key: ("/" in key, key))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*OWN_COLUMNS, *keys])
    for row in rows:
        own = [row.run_id, row.name, row.state, row.project, ",".join(sorted(row.tags))]
        cells = [row.values.get(key) for key in keys]
        writer.writerow([*own, *("" if cell is None else cell for cell in cells)])
    return out.getvalue()


def write_curves(rows: Iterable[Row]) -> str:
    """Curves as CSV: run_id, epoch and one column per metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run_id", "epoch", *CURVES])
    for row in rows:
        points: dict[float, dict[str, float]] = {}
        for key in CURVES:
            for epoch, value in row.curve(key):
                points.setdefault(epoch, {})[key] = value
        for epoch, found in sorted(points.items()):
            writer.writerow([row.run_id, epoch, *(found.get(key, "") for key in CURVES)])
    return out.getvalue()


def with_curves(rows: Sequence[Row], text: str, *, where: str = "the curves") -> tuple[Row, ...]:
    """The rows with the curves of a CSV that `write_curves` wrote, by run_id."""
    reader = csv.DictReader(io.StringIO(text))
    missing = [name for name in ("run_id", "epoch") if name not in (reader.fieldnames or [])]
    if missing:
        raise ReportError(f"{where} has no column {' and no column '.join(missing)}")
    found: dict[str, dict[str, dict[float, float]]] = {}
    for record in reader:
        epoch = parse_scalar(record["epoch"] or "")
        for key in CURVES:
            value = parse_scalar(record.get(key) or "")
            if isinstance(epoch, int | float) and isinstance(value, int | float):
                found.setdefault(record["run_id"], {}).setdefault(key, {})[epoch] = float(value)
    return tuple(replace(row, curves=sorted_curves(found.get(row.run_id, {}))) for row in rows)
