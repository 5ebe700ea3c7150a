"""The table of runs that every comparison, figure and page reads.

One row per run: config keys and metric keys as columns, beside run id, state, project, curves and
per-example scores. A missing value is absent, never 0 and never an empty string.
"""

import ast
import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.errors import ReportError
from agent.report.columns import COLUMNS, CURVE, CURVES, SCORE

Scalar = str | float | int | bool
Curve = tuple[tuple[float, float], ...]  # (epoch, value), in order of epoch

OWN_COLUMNS = ("run_id", "name", "state", "project", "tags")


@dataclass(frozen=True)
class Row:
    """One run. `scores` maps a split (validation, test) to example id -> score in [0, 1] at the
    run's last evaluation point; `prompts` holds the hash of each example's prompt, where known."""

    run_id: str
    state: str
    values: Mapping[str, Scalar]
    project: str = ""
    name: str = ""
    tags: frozenset[str] = frozenset()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    prompts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def number(self, key: str) -> float | None:
        """The finite number under `key`; None when missing, NaN or not a number."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if math.isfinite(value) else None

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        return None if value is None else str(value)

    @property
    def is_pruned(self) -> bool:
        """Stopped early because peers did better, at `stopped/rung`."""
        has_rung = self.values.get("stopped/rung") is not None
        return (
            self.state == "pruned"
            or "pruned" in self.tags
            or (self.state == "finished" and has_rung)
        )

    @property
    def is_complete(self) -> bool:
        """Ran its whole budget: only such runs compete for the final score."""
        return self.state == "finished" and not self.is_pruned and "diverged" not in self.tags

    @property
    def outcome(self) -> str:
        """How the run ended, in words: pruned and diverged runs end as finished on W&B."""
        if self.is_pruned:
            return f"pruned at {self.stopped_at}"
        return "diverged" if "diverged" in self.tags else self.state

    @property
    def epochs_run(self) -> float | None:
        """Where the run stands, in epochs: its last evaluation point."""
        if self.curves.get(CURVE):
            return self.curves[CURVE][-1][0]
        epoch = self.number("final/epoch")
        epoch = self.number("epoch") if epoch is None else epoch
        return self.number("epochs") if epoch is None and self.is_complete else epoch

    def curve(self, key: str = CURVE) -> Curve:
        """Scores over epochs; without a history, the points that the summary names."""
        if known := self.curves.get(key):
            return known
        if key != CURVE:
            return ()
        last = self.number(CURVE) if self.number(CURVE) is not None else self.number(SCORE)
        best = self.number("best/validation_f1_score")
        pairs = {self.number("best/epoch"): best, self.epochs_run: last}
        return tuple(sorted((e, v) for e, v in pairs.items() if e is not None and v is not None))

    def score_at(self, epoch: float, key: str = CURVE) -> float | None:
        return next((v for e, v in self.curve(key) if math.isclose(e, epoch, abs_tol=1e-6)), None)

    def examples(self, split: str, metric: str) -> Mapping[str, float]:
        """Per-example scores, only if they are the ones that `metric` is the mean of: predictions
        of another evaluation point must not give an interval to this one."""
        scores, mean = self.scores.get(split, {}), self.number(metric)
        if not scores or mean is None:
            return {}
        return scores if abs(math.fsum(scores.values()) / len(scores) - mean) < 2e-3 else {}

    @property
    def stopped_at(self) -> str:
        """Where a pruned run stopped, in words; empty for any other run."""
        if not self.is_pruned:
            return ""
        rung, epoch = self.number("stopped/rung"), self.epochs_run
        where = [f"rung {rung:g}"] if rung is not None else []
        where += [f"epoch {epoch:g}"] if epoch is not None else []
        return ", ".join(where) or "an unknown rung"


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


def plain_collection(value: list[object] | tuple[object, ...] | Mapping[str, object]) -> str:
    """Lists as comma-separated text, objects as JSON: both are what RunConfig reads back."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return json.dumps(dict(value), sort_keys=True)


def read_csv(text: str, *, where: str = "the table") -> tuple[Row, ...]:
    """Rows of a CSV whose columns are config and metric keys plus run_id and state.

    Raises ReportError that names missing columns, repeated run ids and unreadable scores together.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    names = reader.fieldnames or []
    missing = [name for name in ("run_id", "state") if name not in names]
    if missing:
        raise ReportError(
            f"{where} has no column {' and no column '.join(missing)}; it needs run_id and state "
            "beside config and metric keys such as learning_rate and " + SCORE
        )
    rows, problems = [], []
    for number, record in enumerate(reader, start=2):
        cells = {k: v for k, v in record.items() if isinstance(k, str) and isinstance(v, str)}
        values = {k: s for k, v in cells.items() if (s := parse_scalar(v)) is not None}
        problems += _faults(number, cells, values)
        own = {name: cells.get(name, "").strip() for name in OWN_COLUMNS}
        tags = frozenset(t.strip() for t in own["tags"].split(",") if t.strip())
        settings = {k: v for k, v in values.items() if k not in OWN_COLUMNS}
        rows.append(
            Row(own["run_id"], own["state"].lower(), settings, own["project"], own["name"], tags)
        )
    ids = [(row.project, row.run_id) for row in rows]
    problems += [
        f"run_id {i!r} stands twice" for _, i in sorted({i for i in ids if ids.count(i) > 1})
    ]
    if problems:
        raise ReportError(f"{where}: " + "; ".join(problems))
    return tuple(rows)


def _faults(number: int, cells: Mapping[str, str], values: Mapping[str, Scalar]) -> list[str]:
    faults = [] if cells.get("run_id", "").strip() else [f"line {number} has no run_id"]
    metrics = {column.key for column in COLUMNS} | set(CURVES)
    return faults + [
        f"line {number}: {key} = {value!r} is not a number"
        for key, value in values.items()
        if key in metrics and isinstance(value, str)
    ]


def write_csv(rows: Sequence[Row]) -> str:
    """The table as `read_csv` reads it: own columns first, then config, then metrics."""
    keys = sorted({key for row in rows for key in row.values}, key=lambda key: ("/" in key, key))
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


def sorted_curves(points: Mapping[str, Mapping[float, float]]) -> dict[str, Curve]:
    return {key: tuple(sorted(values.items())) for key, values in points.items() if values}


def parse_predictions(
    lines: Iterable[str], *, where: str = "the predictions"
) -> tuple[dict[str, float], dict[str, str]]:
    """Scores and prompt hashes by example id, from the lines of a `predictions.jsonl`."""
    scores: dict[str, float] = {}
    prompts: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            example = str(record["example_id"])
            if record.get("dataset"):  # ids are unique inside a data set only
                example = f"{record['dataset']}/{example}"
            scores[example] = float(record["score"])
        except (ValueError, TypeError, KeyError) as error:
            raise ReportError(
                f"{where}, line {number}: needs example_id and a score ({error!r})"
            ) from None
        if record.get("prompt_hash"):
            prompts[example] = str(record["prompt_hash"])
    return scores, prompts


def with_predictions(row: Row, text: str, split: str = "validation", *, where: str = "") -> Row:
    scores, prompts = parse_predictions(text.splitlines(), where=where or f"run {row.run_id}")
    return replace(
        row,
        scores={**row.scores, split: scores},
        prompts={**row.prompts, split: prompts},
    )


def base_rows(text: str, *, where: str = "the baseline") -> tuple[Row, ...]:
    """The untouched base model's rows, from a JSON object of metric keys (nested objects are
    flattened with `/`), or a list of such objects: one for each form that it is served in."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ReportError(f"{where} is not JSON: {error}") from None
    records = given if isinstance(given, list) else [given]
    if not records or not all(isinstance(record, dict) for record in records):
        raise ReportError(
            f"{where} must be a JSON object of metric keys, e.g. {{{SCORE!r}: 0.02}}, or a list of "
            "such objects"
        )
    return tuple(_base_row(record, where) for record in records)


def _base_row(record: Mapping[str, object], where: str) -> Row:
    values = dict(_flat(record))
    if SCORE not in values and CURVE in values:
        values[SCORE] = values[CURVE]
    if not isinstance(values.get(SCORE), int | float):
        raise ReportError(f"{where} has no number under {SCORE} or {CURVE}")
    return Row("base", "baseline", values, name="Untouched base")


def _flat(record: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, Scalar]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}/")
        elif isinstance(value, str | int | float):
            yield prefix + key, value


def read_text(path: Path, what: str) -> str:
    """A file's text; ReportError in one line when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{what} {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ReportError(f"{what} {path} is not UTF-8 text") from None
