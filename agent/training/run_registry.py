"""What the store knows of the runs that need its trainings: who demanded what, and how it ended.

One small file a run, `<store>/runs/<run id>.json`: enough to say how often a training was shared,
to find the adapter of a run, and to keep what is not safely uploaded from being collected.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agent import files
from agent.errors import StoreError

FOLDER = "runs"
RUNNING, FINISHED, PRUNED = "running", "finished", "pruned"


@dataclass(frozen=True)
class RunNote:
    """One run's demand. `point` and `scores` are relative to the store; seconds are training's."""

    run: str
    training: str
    config: Mapping[str, Any]
    state: str = RUNNING
    point: str = ""
    scores: str = ""
    description: str = ""  # deployment.json of the model artifact
    needed_seconds: float = 0.0
    reused_seconds: float = 0.0
    uploaded: bool = False

    def write(self, store: Path) -> None:
        (store / FOLDER).mkdir(parents=True, exist_ok=True)
        files.write_json(store / FOLDER / f"{self.run}.json", asdict(self))

    def changed(self, store: Path, **values: Any) -> "RunNote":
        note = replace(self, **values)
        note.write(store)
        return note


def read(store: Path, run: str) -> RunNote:
    """The note of a run. StoreError when the store does not know it."""
    for note in read_all(store):
        if note.run == run:
            return note
    known = ", ".join(sorted(note.run for note in read_all(store))[-5:]) or "none"
    raise StoreError(f"{store}: knows no run {run!r}; the newest names: {known}")


def read_all(store: Path) -> Iterator[RunNote]:
    for file in sorted((store / FOLDER).glob("*.json")):
        try:
            yield RunNote(**json.loads(file.read_text()))
        except (OSError, ValueError, TypeError):
            continue  # of a later release, or torn by a disk that was full
