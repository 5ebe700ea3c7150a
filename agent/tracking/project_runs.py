"""Runs of W&B or the embedded server as rows of the table that reports read.

`wandb.Api()` finds the server, the key and the default entity where every wandb command finds
them (WANDB_BASE_URL, WANDB_API_KEY, `wandb login`).
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from agent.errors import ReportError, TrackingError, first_line, raising
from agent.results.columns import CURVES
from agent.results.run_table import (
    PREDICTIONS,
    Curve,
    Row,
    Scalar,
    run_values,
    sorted_curves,
    with_predictions,
)
from agent.tracking.client import open_api
from agent.tracking.paths import full_project

READERS = 6  # runs read at the same time: each costs a few round trips
PREDICTIONS_TYPE = "predictions"
Progress = Callable[[int, int], None]
Warn = Callable[[str], None]


def read_projects(
    paths: Sequence[str],
    *,
    with_examples: bool = True,
    api: Any = None,
    progress: Progress | None = None,
    warn: Warn | None = None,
    with_curves: bool = True,
) -> tuple[Row, ...]:
    """Every run of the projects (`project` or `entity/project`), oldest first.

    Inference runs are left out: their results stand on the training runs too. `progress` gets
    how many of a project's runs have been read, `warn` a line for predictions that cannot be
    (their run then has no interval). TrackingError when a project cannot be read.
    """
    opened = open_api() if api is None else api
    rows: list[Row] = []
    for path in paths:
        project = full_project(path, opened.default_entity)
        try:
            runs = list(opened.runs(project, order="+created_at", lazy=False))
            kept = [run for run in runs if _job_type(run) != "inference"]
            read = partial(
                _read, project=path, examples=with_examples, curves=with_curves, warn=warn
            )
            with ThreadPoolExecutor(READERS) as pool:
                for done, row in enumerate(pool.map(read, kept), start=1):
                    rows.append(row)
                    if progress:
                        progress(done, len(kept))
        except Exception as error:
            raise TrackingError(
                f"project {path!r} cannot be read: {first_line(error)}; check its name and entity"
            ) from error
    if not rows:
        raise ReportError(f"no runs in {', '.join(map(repr, paths))}: nothing to report")
    return tuple(rows)


def _read(run: Any, *, project: str, examples: bool, curves: bool, warn: Warn | None) -> Row:
    row = read_run(run, project, with_curves=curves)
    return _examples_or_warning(run, row, warn) if examples and row.is_complete else row


def _examples_or_warning(run: Any, row: Row, warn: Warn | None) -> Row:
    """A report without one run's interval is better than no report."""
    try:
        return read_examples(run, row)
    except Exception as error:
        if warn:
            warn(f"predictions of run {row.run_id} cannot be read: {first_line(error)}")
        return row


def read_run(run: Any, project: str, *, with_curves: bool = True) -> Row:
    """One run of the public API as a row, with its curves."""
    values = run_values(dict(run.config), summary_of(run))
    job_type = _job_type(run)
    if job_type:
        values["job_type"] = job_type
    return Row(
        run_id=str(run.id),
        state=str(run.state),
        values=values,
        project=project,
        name=str(run.name or ""),
        tags=frozenset(map(str, run.tags or ())),
        curves=read_curves(run, values) if with_curves else {},
    )


def summary_of(run: Any) -> dict[str, Any]:
    """The summary as plain JSON: wandb wraps nested values in objects of its own."""
    summary = run.summary
    inner = getattr(summary, "_json_dict", None)
    return dict(inner if isinstance(inner, Mapping) else summary)


def read_curves(run: Any, values: Mapping[str, Scalar]) -> dict[str, Curve]:
    """Scores over epochs from the run's history; a point logged twice keeps its last value."""
    keys = [key for key in CURVES if key in values]
    if not keys or "epoch" not in values:
        return {}
    points: dict[str, dict[float, float]] = {}
    for record in run.scan_history(keys=["epoch", *keys], use_cache=False):
        epoch = record.get("epoch")
        for key in keys:
            value = record.get(key)
            if isinstance(epoch, int | float) and isinstance(value, int | float):
                points.setdefault(key, {})[float(epoch)] = float(value)
    return sorted_curves(points)


def loader_of(project: str, api: Any = None) -> Callable[[Row], Row]:
    """Brings the per-example scores of one row of `project`; a row whose scores cannot be read
    stays without."""

    def load(row: Row) -> Row:
        opened = open_api() if api is None else api
        try:
            path = full_project(project, opened.default_entity)
            return read_examples(opened.run(f"{path}/{row.run_id}"), row)
        except Exception:  # the client raises many kinds; without scores there is no interval
            return row

    return load


def read_examples(run: Any, row: Row) -> Row:
    """The row with per-example scores, from the newest artifact or run file that holds them."""
    with tempfile.TemporaryDirectory() as folder:
        for split, name in PREDICTIONS.items():
            path = _from_artifacts(run, name, Path(folder)) or _from_files(run, name, Path(folder))
            if path is not None:
                row = with_predictions(row, path.read_text("utf-8"), split)
    return row


def _from_artifacts(run: Any, name: str, folder: Path) -> Path | None:
    artifacts = list(run.logged_artifacts())
    ordered = [a for a in artifacts if a.type == PREDICTIONS_TYPE] or artifacts
    for artifact in reversed(ordered):
        if name in artifact.manifest.entries:
            root = artifact.download(root=str(folder), path_prefix=name, skip_cache=True)
            return Path(root) / name
    return None


def _from_files(run: Any, name: str, folder: Path) -> Path | None:
    for file in _named_files(run, name):
        return Path(file.download(root=str(folder), replace=True).name)
    return None


def _named_files(run: Any, name: str) -> Iterable[Any]:
    return (file for file in run.files(names=[name]) if file.name == name and file.size)


def write_marks(
    marks: Mapping[tuple[str, str], Mapping[str, Scalar | None]], api: Any = None
) -> int:
    """Bring summary values to finished runs, by (project, run id); None takes a key out. Returns
    how many runs have one now. TrackingError when the server refuses."""
    opened = open_api() if api is None else api
    for (project, run_id), values in marks.items():
        with raising(TrackingError, f"run {run_id} of {project!r} takes no selected/ keys"):
            run = opened.run(f"{full_project(project, opened.default_entity)}/{run_id}")
            gone = [key for key, value in values.items() if value is None]
            for key in gone:
                if key in run.summary._json_dict:
                    del run.summary[key]
            run.summary.update({k: value for k, value in values.items() if value is not None})
    return sum(any(value is not None for value in values.values()) for values in marks.values())


def _job_type(run: Any) -> str:
    return str(getattr(run, "job_type", None) or "")


def runs_of_sweep(path: str) -> list[Any]:
    """The runs of a sweep, `ENTITY/PROJECT/SWEEP`. TrackingError when it cannot be read."""
    with raising(TrackingError, f"the sweep {path} cannot be read"):
        return list(open_api().sweep(path).runs)
