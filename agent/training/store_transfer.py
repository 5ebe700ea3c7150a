"""Trainings between clusters: packed into a tar file, checked file by file when unpacked."""

import json
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

from agent import files
from agent.errors import StoreError
from agent.training import store
from agent.training.lease import watch

LEFT_OUT = ("lease", "writing-", "fenced-", "damaged-", ".", "pinned")


def pack(trainings: Iterable[store.TrainingDirectory], file: Path) -> int:
    """Whole trainings without what belongs to this cluster alone; returns the size in bytes."""
    temporary = file.with_name(f".{file.name}.{files.unique_suffix()}")

    def chosen(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        inside = member.name.split("/")[1:]
        if inside and inside[0].startswith(LEFT_OUT):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    try:
        with tarfile.open(temporary, "w") as archive:
            for training in trainings:
                archive.add(training.path, arcname=training.key, filter=chosen)
        files.sync_file(temporary)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return file.stat().st_size


def unpack(file: Path, root: Path) -> dict[str, int]:
    """Take over the evaluation points that are whole and go on from what is there already.

    How many for each training. StoreError when the file is not such an archive.
    """
    root.mkdir(parents=True, exist_ok=True)
    staging = root / f".import-{files.unique_suffix()}"
    try:
        with tarfile.open(file) as archive:
            archive.extractall(staging, filter="data")
        return {
            place.parent.name: _take_over(place.parent, root)
            for place in sorted(staging.glob("*/identity.json"))
        }
    except (OSError, tarfile.TarError) as error:
        raise StoreError(f"{file}: cannot be read as exported trainings: {error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _take_over(source: Path, root: Path) -> int:
    training = store.TrainingDirectory(root, source.name)
    if not training.path.exists():
        return _take_points(source, training)
    observer = watch([training.path]).get(training.path)
    lease = observer.try_acquire() if observer else None
    if lease is None:
        raise StoreError(f"{training.path}: a worker is writing it; import when it has ended")
    try:
        return _take_points(source, training)
    finally:
        lease.release()


def _take_points(source: Path, training: store.TrainingDirectory) -> int:
    training.describe(json.loads((source / "identity.json").read_text()))
    coming = store.TrainingDirectory(source.parent, source.name).chain()
    have = training.chain()
    parent = have[-1].digest if have else training.root_digest()
    taken = 0
    for checkpoint in coming[len(have) :]:
        if checkpoint.parent != parent:
            break  # trained separately from another point on: ours stays
        target = training.path / checkpoint.path.name
        store.set_aside_if_damaged(target)
        if not target.exists():
            checkpoint.path.rename(target)
            taken += 1
        parent = checkpoint.digest
    files.sync_directory(training.path)
    return taken
