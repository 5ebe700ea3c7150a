"""The training store: every training once, shared by all runs that need it.

    <store>/<training key>/identity.json         what the key was made from
                           lease/                who may write
                           eval-0001/            an evaluation point: adapter, state, record
                           eval-0001/scores/<key>/  predictions and scores of one deployment
                           step-00000120/        the newest state between evaluation points

A directory is published by one exclusive rename of a finished, synced staging directory. Its
manifest lists the sha256 of every file, its parent's digest and the writer's token; readers follow
the chain from the first point and stop where it breaks.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import files
from agent.errors import StoreError
from agent.training.lease import Lease

MANIFEST = "manifest.json"
RECORD = "record.json"
ADAPTER = "adapter"
ADAPTER_DROPPED = "adapter.dropped"  # says that gc removed the adapter and left the rest
DIVERGED = "diverged.json"
TRANSIENT = "state.safetensors"  # optimizer and RNG: needed to go on, not to serve


@dataclass(frozen=True)
class Checkpoint:
    """A verified directory of the store. `digest` is that of its manifest."""

    path: Path
    digest: str
    parent: str
    writer: str
    record: Mapping[str, Any]

    @property
    def adapter(self) -> Path:
        return self.path / ADAPTER

    @property
    def state(self) -> Path:
        return self.path / TRANSIENT

    @property
    def step(self) -> int:
        return int(self.record["step"])


class TrainingDirectory:
    """One training of the store."""

    def __init__(self, store: Path, key: str) -> None:
        self.path = store / key
        self.key = key

    def describe(self, identity: Mapping[str, object]) -> None:
        """Write down what the key stands for, once."""
        self.path.mkdir(parents=True, exist_ok=True)
        target = self.path / "identity.json"
        if not target.exists():
            files.write_json(target, dict(identity))

    def has_begun(self) -> bool:
        """True when a worker has taken the lease of this training, now or before."""
        return (self.path / "lease").is_dir()

    def root_digest(self) -> str:
        """The parent of the first evaluation point."""
        return f"start-{self.key}"

    # ------------------------------------------------------------------ reading
    def point(self, number: int, parent: str) -> Checkpoint | None:
        """Evaluation point `number` if it is whole and follows `parent`, else None."""
        found = read_checkpoint(self.path / point_name(number))
        return found if found and found.parent == parent else None

    def chain(self) -> list[Checkpoint]:
        """The evaluation points from the first to the last that follows without a break."""
        points: list[Checkpoint] = []
        parent = self.root_digest()
        while found := self.point(len(points) + 1, parent):
            points.append(found)
            parent = found.digest
        return points

    def newest_state(self) -> Checkpoint | None:
        """Where a writer goes on: the newest whole checkpoint that still has its state."""
        chain = self.chain()
        parent = chain[-1].digest if chain else self.root_digest()
        steps = sorted(self.path.glob("step-*"), reverse=True)
        candidates = [c for path in steps if (c := read_checkpoint(path)) and c.parent == parent]
        for checkpoint in [*candidates, *reversed(chain)]:
            if _matches(checkpoint.path, TRANSIENT, _manifest(checkpoint.path)):
                return checkpoint
        return None

    # ------------------------------------------------------------------ writing
    def publish(
        self, name: str, lease: Lease, parent: str, fill: Callable[[Path], Mapping[str, Any]]
    ) -> Checkpoint:
        """Publish the directory `name`; `fill` writes its files and returns its record.

        A whole directory that is already there under that name and parent wins; a damaged one is
        set aside. LeaseLost when another worker has taken over.
        """
        staging = lease.staging / name
        shutil.rmtree(staging, ignore_errors=True)
        try:
            staging.mkdir()
            record = fill(staging)
            (staging / RECORD).write_text(json.dumps(record))
            _seal(staging, parent=parent, writer=lease.token)
        except FileNotFoundError:
            lease.check()  # the staging directory was taken away: we are the orphan
            raise
        lease.check()
        final = self.path / name
        if final.exists():
            found = read_checkpoint(final)
            if found and found.parent == parent:
                shutil.rmtree(staging)
                return found
            _set_aside(final)
        try:
            staging.rename(final)
        except OSError:
            lease.check()
            raise
        files.sync_directory(self.path)
        published = read_checkpoint(final)
        if published is None:
            raise StoreError(f"{final}: was written but cannot be read back; is the disk full?")
        return published

    def note_divergence(self, lease: Lease, reason: str) -> None:
        """Every run of this training would end the same way; none needs to find out again."""
        lease.check()
        files.write_json(self.path / DIVERGED, {"reason": reason})

    def divergence(self) -> str | None:
        """Why this training has no further points, if it diverged."""
        try:
            return str(json.loads((self.path / DIVERGED).read_text())["reason"])
        except (OSError, ValueError, KeyError):
            return None

    def drop_steps(self, keep: str = "") -> None:
        """Remove step checkpoints that a newer state has replaced."""
        for path in self.path.glob("step-*"):
            if path.name != keep:
                shutil.rmtree(path, ignore_errors=True)

    def drop_states(self, before: int) -> None:
        """Remove optimizer and RNG state of the points before `before`; their adapters stay."""
        for number in range(1, before):
            (self.path / point_name(number) / TRANSIENT).unlink(missing_ok=True)


def point_name(number: int) -> str:
    return f"eval-{number:04d}"


def step_name(step: int) -> str:
    return f"step-{step:08d}"


def read_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint at `path` after checking every file against its digest; None when damaged."""
    manifest = _manifest(path)
    if manifest is None:
        return None
    if not all(_matches(path, n, manifest) or _is_dropped(path, n) for n in manifest["files"]):
        return None
    try:
        record = json.loads((path / RECORD).read_text())
    except (OSError, ValueError):
        return None
    digest = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    return Checkpoint(path, digest, manifest["parent"], manifest["writer"], record)


def publish_directory(final: Path, fill: Callable[[Path], None]) -> bool:
    """Publish a directory that needs no lease (such as scores); False when it is already there."""
    staging = final.with_name(f".{final.name}.{files.unique_suffix()}")
    final.parent.mkdir(parents=True, exist_ok=True)
    staging.mkdir()
    try:
        fill(staging)
        _seal(staging, parent="", writer="")
        staging.rename(final)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError) and final.exists():
            return False
        raise
    files.sync_directory(final.parent)
    return True


def is_whole(path: Path) -> bool:
    """True when every file of a published directory matches its manifest."""
    manifest = _manifest(path)
    return manifest is not None and all(_matches(path, n, manifest) for n in manifest["files"])


def set_aside_if_damaged(path: Path) -> None:
    if path.exists() and not is_whole(path):
        _set_aside(path)


def _seal(directory: Path, *, parent: str, writer: str) -> None:
    """Sync every file and write the manifest last."""
    names = sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())
    for name in names:
        files.sync_file(directory / name)
    digests = {name: files.sha256_of(directory / name) for name in names}
    content = {"parent": parent, "writer": writer, "files": digests}
    content["self"] = _self_digest(content)
    files.write_json(directory / MANIFEST, content)
    for child in directory.rglob("*"):
        if child.is_dir():
            files.sync_directory(child)


def _self_digest(content: Mapping[str, Any]) -> str:
    covered = {name: content[name] for name in ("parent", "writer", "files")}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


def _manifest(path: Path) -> dict[str, Any] | None:
    """The manifest if it is byte for byte what was written, else None."""
    try:
        text = (path / MANIFEST).read_text(encoding="utf-8")
        content = json.loads(text)
        sound = content["self"] == _self_digest(content) and isinstance(content["files"], dict)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return content if sound and text == files.json_text(content) else None


def _matches(path: Path, name: str, manifest: Mapping[str, Any] | None) -> bool:
    try:
        return manifest is not None and files.sha256_of(path / name) == manifest["files"].get(name)
    except OSError:
        return False


def _is_dropped(path: Path, name: str) -> bool:
    """True for a file that was removed on purpose and is not needed to read the rest."""
    if (path / name).exists():
        return False
    is_adapter = name.startswith(f"{ADAPTER}/") and not (path / ADAPTER).exists()
    return name == TRANSIENT or (is_adapter and (path / ADAPTER_DROPPED).exists())


def share_with_group(root: Path) -> None:
    """From here on, directories of the store are open to its group, whichever user makes them."""
    os.umask(0o002)
    root.mkdir(parents=True, exist_ok=True)
    if root.stat().st_uid == os.getuid():
        root.chmod(0o2775)


def _set_aside(path: Path) -> None:
    """Move a damaged directory out of the way; it is kept as evidence."""
    path.rename(path.with_name(f"damaged-{path.name}-{files.unique_suffix()}"))
