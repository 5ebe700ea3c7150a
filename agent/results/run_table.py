"""The table of runs that every comparison, figure and page reads.

One row per run: config keys and metric keys as columns, beside run id, state, project, curves and
per-example scores. A missing value is absent, never 0 and never an empty string.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.config.point_values import as_read
from agent.errors import ReportError
from agent.results.columns import CURVE, SCORE
from agent.results.outcome import Outcome, outcome_of

Scalar = str | float | int | bool
Curve = tuple[tuple[float, float], ...]  # (epoch, value), in order of epoch

STOPPED_SCORE = "stopped/validation_f1_score"  # of a pruned run, whose score is not final
PREDICTIONS = {"validation": "predictions.jsonl", "test": "test_predictions.jsonl"}
OWN_COLUMNS = ("run_id", "name", "state", "project", "tags")


@dataclass(frozen=True)
class Row:
    """One run. `scores` maps a split (validation, test) to example id -> score in [0, 1] at the
    run's last evaluation point; `prompts` holds the hash of each example's prompt and `sources` the
    document or question it is about, where known."""

    run_id: str
    state: str
    values: Mapping[str, Scalar]
    project: str = ""
    name: str = ""
    tags: frozenset[str] = frozenset()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    prompts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def number(self, key: str) -> float | None:
        """The finite number under `key`; None when missing, NaN or not a number."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        try:
            return float(value) if math.isfinite(value) else None
        except OverflowError:  # a whole number beyond every double
            return None

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        return None if value is None else str(value)

    @property
    def outcome(self) -> Outcome:
        return outcome_of(self.state, self.tags, self.values)

    @property
    def is_pruned(self) -> bool:
        return self.outcome.is_pruned

    @property
    def is_complete(self) -> bool:
        return self.outcome.is_complete

    @property
    def ending(self) -> str:
        """How the run ended, in words: with the rung for a pruned one."""
        if self.is_pruned:
            return f"pruned at {self.stopped_at}"
        return self.state if self.outcome is Outcome.UNKNOWN else self.outcome.value

    @property
    def epochs_run(self) -> float | None:
        """Where the run stands, in epochs: its last evaluation point."""
        if self.curves.get(CURVE):
            return self.curves[CURVE][-1][0]
        named = (self.number(key) for key in ("final/epoch", "stopped/epoch", "epoch"))
        epoch = next((epoch for epoch in named if epoch is not None), None)
        return self.number("epochs") if epoch is None and self.is_complete else epoch

    @property
    def epochs_trained(self) -> float | None:
        """How far it was trained, past the last evaluation point too: a run may be stopped between
        two of them."""
        keys = ("stopped/trained_epochs", "epoch")
        known = [e for e in (self.epochs_run, *map(self.number, keys)) if e is not None]
        return max(known, default=None)

    def curve(self, key: str = CURVE) -> Curve:
        """Scores over epochs; without a history, the points that the summary names."""
        if known := self.curves.get(key):
            return known
        if key != CURVE:
            return ()
        named = (self.number(name) for name in (CURVE, SCORE, STOPPED_SCORE))
        last = next((score for score in named if score is not None), None)
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


# Config fields that are objects: kept whole, not flattened.
_COLLECTIONS = ("pruner_options", "max_length_by_task", "max_new_tokens_by_task")


def plain_collection(value: list[object] | tuple[object, ...] | Mapping[str, object]) -> str:
    """Lists as comma-separated text, objects as JSON: both are what RunConfig reads back."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return json.dumps(dict(value), sort_keys=True)


def plain_values(record: Mapping[str, object], prefix: str = "") -> dict[str, Scalar]:
    """Scalars of a config or summary. Lists become comma-separated text; media and W&B's own
    keys are left out; other objects are flattened with a dot (`define_metric`'s `x.max`)."""
    found: dict[str, Scalar] = {}
    for key, value in record.items():
        name = prefix + str(key)
        if value is None or str(key).startswith("_"):
            continue
        if isinstance(value, Mapping):
            if "_type" in value:
                continue
            if name in _COLLECTIONS:
                found[name] = plain_collection(value)
            else:
                found.update(plain_values(value, f"{name}."))
        elif isinstance(value, list | tuple):
            found[name] = plain_collection(value)
        elif isinstance(value, str | int | float):
            found[name] = value
    return found


def run_values(config: Mapping[str, object], summary: Mapping[str, object]) -> dict[str, Scalar]:
    """The values of a run's row: its config as the run itself reads it, and its summary."""
    return {**plain_values(as_read(config)), **plain_values(summary)}


def sorted_curves(points: Mapping[str, Mapping[float, float]]) -> dict[str, Curve]:
    return {key: tuple(sorted(values.items())) for key, values in points.items() if values}


@dataclass(frozen=True)
class Predictions:
    """Each by example id. Examples of one source are not independent evidence."""

    scores: Mapping[str, float]
    prompts: Mapping[str, str]
    sources: Mapping[str, str]


def parse_predictions(lines: Iterable[str], *, where: str = "the predictions") -> Predictions:
    """Scores, prompt hashes and sources, from the lines of a `predictions.jsonl`.

    Lines end at a newline and nowhere else: `str.splitlines` would also cut at the separators of
    Unicode (U+2028, U+0085), which JSON leaves as they are inside an answer.
    """
    scores: dict[str, float] = {}
    prompts: dict[str, str] = {}
    sources: dict[str, str] = {}
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
        if record.get("source"):
            sources[example] = f"{record.get('dataset', '')}/{record['source']}"
    return Predictions(scores, prompts, sources)


def with_predictions(row: Row, text: str, split: str = "validation", *, where: str = "") -> Row:
    found = parse_predictions(text.split("\n"), where=where or f"run {row.run_id}")
    return replace(
        row,
        scores={**row.scores, split: found.scores},
        prompts={**row.prompts, split: found.prompts},
        sources={**row.sources, split: found.sources},
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
    rows = [_base_row(record, where) for record in records]
    return tuple(replace(r, run_id=f"base {i}") if i > 1 else r for i, r in enumerate(rows, 1))


def is_base(row: Row) -> bool:
    """Whether it is the untouched base rather than a run."""
    return row.state == "baseline" or row.text("job_type") == "baseline"


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
