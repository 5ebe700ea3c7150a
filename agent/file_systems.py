"""Which file system holds a path, and whether locks between machines may be trusted on it."""

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
# Locks, or SQLite's shared memory, are not reliable between machines on these.
_NETWORK = "nfs nfs4 lustre beegfs gpfs cifs smb3 smbfs 9p afs ceph glusterfs orangefs panfs wekafs"
_FUSE = "sshfs glusterfs ceph s3fs rclone juicefs gcsfuse"
UNSAFE_FOR_LOCKS = frozenset([*_NETWORK.split(), *(f"fuse.{name}" for name in _FUSE.split())])


def are_locks_safe(kind: str | None) -> bool:
    """Whether a file system of this type may be locked from several machines at once."""
    return kind not in UNSAFE_FOR_LOCKS


def file_system_of(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the file system that holds `path`; None where the system does not say.

    `mounts` has the form of /proc/self/mountinfo.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    target = path.resolve()
    best: tuple[int, str] | None = None
    for line in lines:
        before, separator, after = line.partition(" - ")
        fields = before.split()
        if not separator or len(fields) < 5:
            continue
        point = Path(fields[4].replace("\\040", " "))
        if target == point or point in target.parents:
            depth = len(point.parts)
            if best is None or depth >= best[0]:
                best = (depth, after.split()[0])
    return best[1] if best else None
