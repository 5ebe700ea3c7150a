"""What may go from a training store, decided from its files alone, and why the rest stays."""

import json
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.training import run_registry, store
from agent.training.run_registry import RunNote

PINNED = "pinned"


@dataclass(frozen=True)
class Removal:
    """One file or directory that may go."""

    training: store.TrainingDirectory
    path: Path
    reason: str
    size: int  # bytes


@dataclass(frozen=True)
class Stay:
    """A training of which nothing is touched."""

    key: str
    reason: str


def trainings(root: Path) -> list[store.TrainingDirectory]:
    places = sorted(root.glob("*/identity.json"))
    return [store.TrainingDirectory(root, place.parent.name) for place in places]


def plan(
    root: Path, vacant: Collection[Path], *, adapters: str = "all", unsynced: bool = False
) -> list[Removal | Stay]:
    """What a collection would remove from the trainings whose lease is `vacant`.

    `adapters` is what is kept of them: all, or the best and the last of each training that was
    not pruned. `unsynced` also touches what W&B has not yet got.
    """
    by_training: dict[str, list[RunNote]] = {}
    for note in run_registry.read_all(root):
        by_training.setdefault(note.training, []).append(note)
    found: list[Removal | Stay] = []
    for training in trainings(root):
        notes = by_training.get(training.key, [])
        if training.path not in vacant:
            found.append(Stay(training.key, "a worker holds its lease"))
        elif reason := _why_it_stays(training, notes, unsynced):
            found.append(Stay(training.key, reason))
        else:
            found += _removals(training, notes, adapters)
    return found


def _why_it_stays(
    training: store.TrainingDirectory, notes: Iterable[RunNote], unsynced: bool
) -> str | None:
    if (training.path / PINNED).exists():
        return "pinned"
    waiting = [n.run for n in notes if not n.uploaded and n.state != run_registry.RUNNING]
    if waiting and not unsynced:
        return f"not yet uploaded: {', '.join(waiting)}"
    return None


def _removals(
    training: store.TrainingDirectory, notes: Sequence[RunNote], adapters: str
) -> list[Removal]:
    found = [
        _removal(training, path, "left behind by a writer that was killed, or damaged")
        for pattern in ("writing-*", "fenced-*", "damaged-*", "eval-*/scores/.*", "eval-*/.*")
        for path in sorted(training.path.glob(pattern))
    ]
    chain = training.chain()
    if notes and all(note.state != run_registry.RUNNING for note in notes):
        states = [c.state for c in chain if c.state.exists()]
        found += [
            _removal(training, p, "optimizer state that no run needs any more") for p in states
        ]
        found += [
            _removal(training, p, "between points") for p in sorted(training.path.glob("step-*"))
        ]
    if adapters == "best":
        kept = _worth_keeping(chain, notes)
        found += [
            _removal(training, c.adapter, "adapter of a pruned training or a losing point")
            for c in chain
            if c.adapter.is_dir() and c.path.name not in kept
        ]
    return found


def _worth_keeping(chain: Sequence[store.Checkpoint], notes: Sequence[RunNote]) -> set[str]:
    """The best point under any of its scores, and the one each finished run ended with."""
    if notes and all(note.state == run_registry.PRUNED for note in notes):
        return set()
    ends = {Path(note.point).name for note in notes if note.state != run_registry.PRUNED}
    kept = ends or {c.path.name for c in chain[-1:]}
    best: dict[str, tuple[float, str]] = {}
    for checkpoint in chain:
        for file in checkpoint.path.glob("scores/*/scores.json"):
            mark = (_f1_of(file), checkpoint.path.name)
            best[file.parent.name] = max(best.get(file.parent.name, mark), mark)
    return kept | {name for _, name in best.values()}


def _f1_of(scores: Path) -> float:
    try:
        return float(json.loads(scores.read_text())["metrics"]["f1_score"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1.0


def _removal(training: store.TrainingDirectory, path: Path, reason: str) -> Removal:
    return Removal(training, path, reason, size_of(path))


def size_of(path: Path) -> int:
    """Bytes of a file or of everything below a directory, which may be written to meanwhile: a
    worker renames its beats and its points, and what has gone counts nothing.
    """
    found = [path]
    found += [Path(place, name) for place, _, names in os.walk(path) for name in names]
    return sum(_bytes_of(file) for file in found)


def _bytes_of(path: Path) -> int:
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def remove(removal: Removal) -> None:
    """A removed adapter is noted, so that its point still counts and its scores are still read."""
    path = removal.path
    if path.name == store.ADAPTER:
        (path.parent / store.ADAPTER_DROPPED).write_text(removal.reason + "\n")
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
