"""Trainings between clusters: packed into a tar file, checked file by file when unpacked."""

import errno
import json
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agent import files
from agent.config.run_config import digest
from agent.errors import DISK_ERRNOS, StoreError
from agent.training import store
from agent.training.lease import watch

_UNREADABLE = "cannot be read as exported trainings"
_DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)
_OF_THE_SITE = {*DISK_ERRNOS, errno.EACCES}
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


@dataclass(frozen=True)
class Taken:
    """What an archive brought: evaluation points by training, and what was damaged in it."""

    points: dict[str, int]
    damaged: list[str]


def unpack(file: Path, root: Path) -> Taken:
    """Take over the evaluation points that are whole and go on from what is there already.

    StoreError, and a store as it was before, when the file is not such an archive, is cut off or
    cannot be read to its end. OSError when the store cannot be written.
    """
    if not file.is_file():
        raise StoreError(f"{file}: no such file; name an archive that `store export` has made")
    root.mkdir(parents=True, exist_ok=True)
    staging = root / f".import-{files.unique_suffix()}"
    try:
        _extract(file, staging)
        found = sorted(staging.glob("*/identity.json"))
        if not found:
            raise StoreError(
                f"{file}: holds no trainings; make the archive with `sweep-agent store export`"
            )
        for place in found:
            _check_identity(file, place)
        taken: dict[str, int] = {}
        damaged: list[str] = []
        for place in found:
            training = place.parent
            damaged += _remove_damaged(training)
            taken[training.name] = _take_over(training, root)
        return Taken(taken, damaged)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _extract(file: Path, staging: Path) -> None:
    """Every member, or StoreError: a header that cannot be read ends an archive silently."""
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                if not (member.isfile() or member.isdir()):
                    raise StoreError(
                        f"{file}: {member.name!r} is neither a file nor a directory; such an "
                        "archive was not made by `sweep-agent store export`"
                    )
                archive.extract(member, staging, filter="data")
            opened = archive.fileobj
            assert opened is not None
            opened.seek(archive.offset)
            is_whole = opened.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    except OSError as error:
        if error.errno in _OF_THE_SITE:
            raise  # the store's disk or the site, not the archive
        raise StoreError(f"{file}: {_UNREADABLE}: {error}") from None
    except (*_DAMAGE, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise StoreError(f"{file}: {_UNREADABLE}: {error or type(error).__name__}") from None
    if not is_whole:
        raise StoreError(
            f"{file}: {_UNREADABLE}: it is damaged or cut off after "
            f"{archive.offset} bytes; copy it again, nothing was imported"
        )


def _check_identity(file: Path, place: Path) -> None:
    """StoreError unless the training lies under the key that follows from its identity."""
    try:
        identity = json.loads(place.read_text(encoding="utf-8"))
        is_own = isinstance(identity, dict) and digest(identity) == place.parent.name
    except (ValueError, RecursionError):
        is_own = False
    if not is_own:
        raise StoreError(
            f"{file}: {place.parent.name}/identity.json is damaged, or belongs to another "
            "training; copy the archive again, nothing was imported"
        )


def _remove_damaged(training: Path) -> list[str]:
    """Take out points and scores that do not match their digests; which they were."""
    points = [path for path in sorted(training.glob("eval-*")) if path.is_dir()]
    damaged = [path for path in points if store.read_checkpoint(path) is None]
    for point in points:
        if point not in damaged:
            damaged += [path for path in point.glob("scores/*") if not store.is_whole(path)]
    for path in damaged:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return [str(path.relative_to(training.parent)) for path in damaged]


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
    training.describe(json.loads((source / "identity.json").read_text(encoding="utf-8")))
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
