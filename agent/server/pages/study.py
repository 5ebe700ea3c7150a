"""The runs of a project as `agent.results` reads them, so that a page and a report never disagree.

What only a few runs need is read for those alone: curves where an earlier evaluation point may have
been tested, per-example scores of the runs that stand for their variant.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from agent.errors import ReportError
from agent.results.presentation import CURVE, TEST_SCORE
from agent.results.run_table import (
    PREDICTIONS,
    Predictions,
    Row,
    parse_predictions,
    run_values,
    sorted_curves,
)
from agent.results.study import Study, examine
from agent.server.pages.series import CurveCache
from agent.server.services import Services
from agent.server.store.database import Connection
from agent.server.store.records import Run

MAX_PREDICTION_BYTES = 100_000_000


def study_row(
    run: Run, config: Mapping[str, Any] | None = None, summary: Mapping[str, Any] | None = None
) -> Row:
    """The same row that the public API gives a report, without curves and example scores. `config`
    and `summary` are the run's own, where they have been read already."""
    config = run.config_values() if config is None else config
    values = run_values(config, run.summary_values() if summary is None else summary)
    if run.job_type:
        values["job_type"] = run.job_type
    tags = frozenset(str(tag) for tag in run.tag_list())
    return Row(run.name, run.state, values, name=run.display_name, tags=tags)


class StudyReader:
    """Reads what a study needs beside the rows. `places` maps a run's name to its id and revision
    in the store."""

    def __init__(
        self,
        connection: Connection,
        services: Services,
        curves: CurveCache,
        places: Mapping[str, tuple[int, int]],
    ) -> None:
        self._connection = connection
        self._services = services
        self._curves = curves
        self._places = places

    def study(self, rows: Sequence[Row]) -> Study:
        """Runs of inference alone are left out, as in a report."""
        trained = [row for row in rows if row.text("job_type") != "inference"]
        if any(row.number(TEST_SCORE) is not None for row in trained):
            trained = [self._with_curve(row) for row in trained]
        return examine(trained, load=self._with_examples)

    def _with_curve(self, row: Row) -> Row:
        if not row.is_complete or row.run_id not in self._places:
            return row
        points = self._curves.curve(self._connection, *self._places[row.run_id], CURVE)
        known = {
            epoch: value for _, epoch, value in points if epoch is not None and value is not None
        }
        return replace(row, curves=sorted_curves({CURVE: known}))

    def _with_examples(self, row: Row) -> Row:
        """Predictions that cannot be read give no interval, as in a report."""
        if row.run_id not in self._places:
            return row
        found: dict[str, Predictions] = {}
        for split, name in PREDICTIONS.items():
            blob = _blob_of(self._connection, self._places[row.run_id][0], name)
            if blob is None:
                continue
            try:
                found[split] = _predictions_in(self._services.blobs.path_of(blob))
            except (OSError, UnicodeDecodeError, ReportError):
                continue
        return replace(
            row,
            scores={split: known.scores for split, known in found.items()},
            prompts={split: known.prompts for split, known in found.items()},
            sources={split: known.sources for split, known in found.items()},
        )


def artifact_content(
    connection: Connection, run_id: int, type_name: str, pattern: str
) -> sqlite3.Row | None:
    """Blob and size of the newest file of that name (a GLOB pattern) in an artifact that the run
    has logged; None where there is none."""
    found: sqlite3.Row | None = connection.execute(
        "SELECT artifact_file.blob, artifact_file.size FROM artifact "
        "JOIN artifact_file ON artifact_file.artifact_id = artifact.id "
        "JOIN collection ON collection.id = artifact.sequence_id "
        "JOIN artifact_type ON artifact_type.id = collection.type_id "
        "WHERE artifact.run_id = ? AND artifact.state = 'COMMITTED' "
        "AND artifact_type.name = ? AND artifact_file.name GLOB ? "
        "AND artifact_file.blob IS NOT NULL ORDER BY artifact.id DESC LIMIT 1",
        (run_id, type_name, pattern),
    ).fetchone()
    return found


def _blob_of(connection: Connection, run_id: int, name: str) -> str | None:
    """The newest artifact file of that name that the run has logged, else its run file."""
    found = artifact_content(connection, run_id, "predictions", name)
    if found is None:
        found = connection.execute(
            "SELECT blob, size FROM run_file WHERE run_id = ? AND name = ?", (run_id, name)
        ).fetchone()
    return None if found is None or found["size"] > MAX_PREDICTION_BYTES else str(found["blob"])


@lru_cache(maxsize=256)
def _predictions_in(path: Path) -> Predictions:
    """Contents never change under their name, so what was read of them stays right."""
    return parse_predictions(path.read_text(encoding="utf-8").split("\n"))
