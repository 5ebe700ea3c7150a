"""What the page of one run shows beside its charts: predictions, console, files, artifacts."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agent.config.objective import number_of
from agent.server.pages.study import artifact_content
from agent.server.pages.table import short_text
from agent.server.pages.view import number
from agent.server.services import Services
from agent.server.store.artifacts import get_collection, get_type, inputs_of, list_files, outputs_of
from agent.server.store.database import Connection
from agent.server.store.records import Artifact, Run, RunFile
from agent.server.store.streams import OUTPUT
from agent.server.store.tokens import DOWNLOAD_LIFETIME_S, Owner, download_grant

WORST = 20
LOG_LINES = 1_000
LINE_LENGTH = 5_000
MAX_FILES = 1_000
MAX_ARTIFACTS = 100
MAX_PREDICTION_BYTES = 30_000_000
MAX_CELL = 600
SCORES = ("score", "f1", "f1_score", "exact", "correct", "accuracy")
UNREADABLE = "The predictions of this run cannot be read."
_FIRST = ("score", "prompt", "question", "output", "prediction", "gold", "target", "expected")
_LAST = ("prompt_hash",)
_STREAM_MARK = re.compile(r"^(?:ERROR )?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z? ")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Predictions:
    """The worst answers of a run. `problem` says why there are none."""

    columns: tuple[str, ...] = ()
    lines: tuple[tuple[str, ...], ...] = ()
    score: str = ""
    count: int = 0
    failed: int = 0  # how many have the lowest score of all
    lowest: str = ""
    problem: str = ""


@dataclass(frozen=True)
class FileLink:
    """A file that can be downloaded for an hour."""

    name: str
    size: int
    address: str


@dataclass(frozen=True)
class ArtifactLink:
    """An artifact that the run made or used."""

    name: str
    kind: str
    size: int
    is_output: bool
    files: tuple[FileLink, ...]


def predictions_of(connection: Connection, services: Services, run: Run) -> Predictions:
    """The worst predictions, from the run's artifact of them, else from its logged table."""
    found = prediction_records(connection, services, run)
    if isinstance(found, str):
        return Predictions(problem=found)
    try:
        return worst(found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Predictions(problem=UNREADABLE)


def prediction_records(
    connection: Connection, services: Services, run: Run
) -> Sequence[dict[str, Any]] | str:
    """All predictions of a run, or in words why there are none."""
    found = _prediction_blob(connection, run)
    if found is None:
        return "This run has logged no predictions."
    blob, size = found
    if size > MAX_PREDICTION_BYTES:
        return "The predictions are too large to show here: download them."
    try:
        return _records_in(services.blobs.path_of(blob))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return UNREADABLE


def _prediction_blob(connection: Connection, run: Run) -> tuple[str, int] | None:
    row = artifact_content(connection, run.id, "predictions", "*.jsonl")
    if row is not None:
        return str(row[0]), int(row[1])
    for value in run.summary_values().values():
        if not isinstance(value, dict) or value.get("_type") != "table-file":
            continue
        row = connection.execute(
            "SELECT blob, size FROM run_file WHERE run_id = ? AND name = ?",
            (run.id, str(value.get("path"))),
        ).fetchone()
        if row is not None:
            return str(row[0]), int(row[1])
    return None


@lru_cache(maxsize=8)
def _records_in(path: Path) -> list[dict[str, Any]]:
    """Contents never change under their name, so what was read of them stays right."""
    return read_records(path.read_bytes())


def read_records(content: bytes) -> list[dict[str, Any]]:
    """JSON lines, or a W&B table. Raises ValueError for anything else."""
    text = content.decode("utf-8")
    if text.startswith('{"columns"') or text.startswith('{"_type"'):
        table = json.loads(text)
        columns = [str(name) for name in table["columns"]]
        return [dict(zip(columns, line, strict=False)) for line in table["data"]]
    records = [json.loads(line) for line in text.split("\n") if line.strip()]
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("a prediction is not an object")
    return records


def worst(records: Sequence[dict[str, Any]], count: int = WORST) -> Predictions:
    """The records of the lowest score first; in their own order where scores are equal."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    score = next((key for key in SCORES if any(_is_number(r.get(key)) for r in records)), None)
    if score is None:
        return Predictions(problem="The predictions have no score to order them by.")
    scored = [record for record in records if _is_number(record.get(score))]
    scored.sort(key=lambda record: float(record[score]))
    lowest = float(scored[0][score])
    first = [score, *(key for key in _FIRST if key in keys and key != score)]
    shown = scored[:count]
    rest = [k for k in keys if k not in first and any(r.get(k) not in (None, "") for r in shown)]
    columns = (*first, *sorted(rest, key=_LAST.__contains__))
    return Predictions(
        columns,
        tuple(tuple(cell_text(record.get(key)) for key in columns) for record in shown),
        score,
        len(scored),
        sum(float(record[score]) == lowest for record in scored),
        number(lowest),
    )


def _is_number(value: Any) -> bool:
    return number_of(value) is not None


def cell_text(value: Any) -> str:
    """One value of a prediction for people, cut where it is long."""
    if value is None:
        return ""
    if isinstance(value, str):
        return short_text(value, MAX_CELL)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if (known := number_of(value)) is not None:
        return number(known)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return short_text("\n".join(value), MAX_CELL)
    return short_text(json.dumps(value, ensure_ascii=False), MAX_CELL)


def console_of(connection: Connection, run: Run, first: int | None = None) -> dict[str, Any]:
    """The last lines of the console (with `first`, those from that number on)."""
    start = max(0, run.log_lines - LOG_LINES) if first is None else first
    rows = connection.execute(
        "SELECT number, substr(content, 1, ?) FROM stream_line "
        "WHERE run_id = ? AND stream = ? AND number >= ? ORDER BY number LIMIT ?",
        (LINE_LENGTH, run.id, OUTPUT, start, LOG_LINES),
    ).fetchall()
    lines = [clean_line(row[1]) for row in rows]
    following = rows[-1][0] + 1 if rows else start
    return {"next": following, "lines": lines, "left_out": start if first is None else 0}


def clean_line(text: str) -> str:
    """A console line without terminal codes; of a line that was drawn over, what was last seen.

    The client puts a level and a time before what a program wrote to its error stream: that it
    went there makes it no error (progress bars do), so both are left out.
    """
    plain = _STREAM_MARK.sub("", text)
    return _ESCAPES.sub("", plain.rstrip("\r\n").rsplit("\r", 1)[-1])


def files_of(connection: Connection, services: Services, run: Run) -> list[FileLink]:
    rows = connection.execute(
        "SELECT * FROM run_file WHERE run_id = ? ORDER BY name LIMIT ?", (run.id, MAX_FILES)
    )
    owner = ("run", run.id)
    return [_link(services, f.name, f.size, f.blob, owner) for f in map(RunFile.of, rows)]


def artifacts_of(connection: Connection, services: Services, run: Run) -> list[ArtifactLink]:
    """What the run made, then what it used."""
    made = [(artifact, True) for artifact in outputs_of(connection, run.id)[:MAX_ARTIFACTS]]
    used = [(artifact, False) for artifact in inputs_of(connection, run.id)[:MAX_ARTIFACTS]]
    return [_artifact(connection, services, artifact, made_it) for artifact, made_it in made + used]


def _artifact(
    connection: Connection, services: Services, artifact: Artifact, is_output: bool
) -> ArtifactLink:
    collection = get_collection(connection, artifact.sequence_id)
    assert collection is not None
    files = list_files(connection, artifact.id, None, 0, 200).items
    owner = ("artifact", artifact.id)
    links = tuple(_link(services, f.name, f.size, f.blob, owner) for f in files)
    kind = get_type(connection, collection.type_id).name
    name = f"{collection.name}:v{artifact.version_index}"
    return ArtifactLink(name, kind, artifact.size, is_output, links)


def _link(services: Services, name: str, size: int, blob: str | None, owner: Owner) -> FileLink:
    if blob is None:
        return FileLink(name, size, "")
    short = name.rsplit("/", 1)[-1]
    grant = download_grant(blob, short, owner)
    token = services.signer.sign(grant, services.clock() + DOWNLOAD_LIFETIME_S)
    return FileLink(name, size, f"/storage/{token}/{quote(short, safe='')}")
