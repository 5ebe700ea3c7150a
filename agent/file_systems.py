"""Which file system holds a path, and whether locks between machines may be trusted on it."""

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
# Locks, or SQLite's shared memory, are not reliable between machines on these.
_NETWORK = """
    9p acfs afs beegfs ceph cifs coda davfs dvs fhgfs glusterfs gpfs lustre mfs ncpfs nfs nfs4
    orangefs panfs pvfs2 quobyte smb2 smb3 smbfs vboxsf virtiofs vmhgfs wekafs xtreemfs
"""
_FUSE = """
    beegfs blobfuse blobfuse2 ceph ceph-fuse cernvmfs curvefs davfs2 dfuse gcsfuse glusterfs goofys
    hadoop-fuse-dfs juicefs lizardfs mfs moosefs mount-s3 mountpoint-s3 orangefs pvfs2 quobyte
    rclone s3fs seaweedfs sshfs vmhgfs-fuse xtreemfs
"""
UNSAFE_FOR_LOCKS = frozenset([*_NETWORK.split(), *(f"fuse.{name}" for name in _FUSE.split())])
_ESCAPE = re.compile(r"\\([0-7]{3})")  # of a mount point's spaces, tabs, newlines and backslashes


def are_locks_safe(kind: str | None) -> bool:
    """Whether a file system of this type may be locked from several machines at once."""
    return kind is None or kind.lower() not in UNSAFE_FOR_LOCKS


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
        point = Path(_ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[4]))
        if target == point or point in target.parents:
            depth = len(point.parts)
            if best is None or depth >= best[0]:
                best = (depth, after.split()[0])
    return best[1] if best else None
