"""The code that was submitted is the code that runs: a read-only copy, named by commit and diff.

A queued task may start days later, when the working tree has moved on. The copy holds every file
git tracks or would track; what git ignores (outputs, data, environments) is linked to the
original, so that relative paths in sweeps mean the same in both places.
"""

import compileall
import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from agent import files
from agent.errors import ClusterError

MANIFEST = "SNAPSHOT.json"
DIFF = "SNAPSHOT.diff"
LOCK_FILES = ("requirements.lock", "uv.lock", "pylock.toml")
MAX_BYTES = 200 * 2**20  # code, not data: data belongs where git ignores it
CACHES = ("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache")


@dataclass(frozen=True)
class Snapshot:
    """What is known of a frozen tree; the same facts stand on every run made from it."""

    name: str
    commit: str
    diff_digest: str  # empty for a clean tree
    code_digest: str  # over all names and contents
    lock_digest: str  # empty without a lock file
    project_dir: str


def freeze(project_dir: Path, snapshots_dir: Path) -> tuple[Path, Snapshot]:
    """Copy the tree, or find the copy that is there. ClusterError outside a git checkout."""
    project_dir = project_dir.resolve()
    commit, diff, names = _read_tree(project_dir)
    snapshot = _describe(project_dir, commit, diff, names)
    target = snapshots_dir.resolve() / snapshot.name
    if not target.exists():
        _build(project_dir, target, snapshot, diff, names)
    return target, snapshot


def describe(project_dir: Path) -> Snapshot:
    """What a snapshot of the tree as it is now would be, without making one."""
    project_dir = project_dir.resolve()
    return _describe(project_dir, *_read_tree(project_dir))


def read_manifest(directory: Path) -> Snapshot | None:
    """The facts of the snapshot in `directory`; None when it is not a snapshot."""
    try:
        return Snapshot(**json.loads((directory / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def code_variables(directory: Path) -> dict[str, str]:
    """What a run from the snapshot in `directory` records of its code, for the environment; nothing
    when it is not a snapshot.
    """
    snapshot = read_manifest(directory)
    if snapshot is None:
        return {}
    return {
        "SWEEP_AGENT_SNAPSHOT": str(directory),
        "SWEEP_AGENT_COMMIT": snapshot.commit,
        "SWEEP_AGENT_DIFF_DIGEST": snapshot.diff_digest,
        "SWEEP_AGENT_LOCK_DIGEST": snapshot.lock_digest,
    }


def differences(then: Snapshot, now: Snapshot) -> list[str]:
    """What a run made today would not share with one of `then`, one sentence each."""
    facts = (
        ("commit", then.commit[:12], now.commit[:12]),
        ("uncommitted changes", then.diff_digest or "none", now.diff_digest or "none"),
        ("code", then.code_digest, now.code_digest),
        ("lock file", then.lock_digest or "none", now.lock_digest or "none"),
    )
    return [f"{name}: {old} → {new}" for name, old, new in facts if old != new]


# ---------------------------------------------------------------------- inside
def _read_tree(project_dir: Path) -> tuple[str, bytes, list[str]]:
    """Commit, diff against it, and the names of all files that belong to the tree."""
    commit = _git(project_dir, "rev-parse", "HEAD").decode().strip()
    diff = _git(project_dir, "diff", "HEAD", "--binary")
    listed = _git(project_dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = sorted({name for name in os.fsdecode(listed).split("\0") if name})
    present = [name for name in names if os.path.lexists(project_dir / name)]
    return commit, diff, [name for name in present if not (project_dir / name).is_dir()]


def _describe(project_dir: Path, commit: str, diff: bytes, names: Iterable[str]) -> Snapshot:
    code, total = hashlib.sha256(), 0
    for name in names:
        path = project_dir / name
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        total += len(content)
        if total > MAX_BYTES:
            raise ClusterError(
                f"the code in {project_dir} is more than {MAX_BYTES // 2**20} MiB; let .gitignore "
                "name the data and outputs in it, or submit with --no-snapshot"
            )
        code.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        code.update(content)
    digest = code.hexdigest()[:12]
    locks = [project_dir / name for name in LOCK_FILES if (project_dir / name).is_file()]
    return Snapshot(
        name=f"{commit[:12]}-{digest}",
        commit=commit,
        diff_digest=hashlib.sha256(diff).hexdigest()[:12] if diff else "",
        code_digest=digest,
        lock_digest=files.sha256_of(locks[0])[:12] if locks else "",
        project_dir=str(project_dir),
    )


def _build(
    project_dir: Path, target: Path, snapshot: Snapshot, diff: bytes, names: Iterable[str]
) -> None:
    """In a temporary place first, so that no job ever runs from half a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{files.unique_suffix()}")
    try:
        for name in names:
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project_dir / name, temporary / name, follow_symlinks=False)
        _link_ignored(project_dir, temporary)
        (temporary / DIFF).write_bytes(diff)
        (temporary / MANIFEST).write_text(json.dumps(asdict(snapshot), indent=1) + "\n")
        compileall.compile_dir(temporary / "agent", quiet=2)  # caches cannot be written later
        _seal(temporary)
        try:
            temporary.rename(target)
        except OSError:  # another process has just made the same one
            if not target.exists():
                raise
    finally:
        if temporary.exists():
            remove(temporary)


def _link_ignored(project_dir: Path, copy: Path) -> None:
    """What git ignores is linked; `outputs` always, because runs make it."""
    listed = _git(
        project_dir, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"
    )
    (project_dir / "outputs").mkdir(exist_ok=True)
    names = {name.rstrip("/") for name in os.fsdecode(listed).split("\0") if name}
    for name in sorted(names | {"outputs"}):
        path = Path(name)
        if path.name in CACHES or path.suffix in (".pyc", ".egg-info") or (copy / name).exists():
            continue
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).symlink_to(project_dir / name)


def _seal(directory: Path) -> None:
    for root, folders, names in os.walk(directory, topdown=False):
        for name in [*names, *folders]:
            path = Path(root, name)
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
    directory.chmod(0o555)


def remove(directory: Path) -> None:
    """Delete a snapshot, which is read-only on purpose. Links in it are not followed."""
    for root, folders, _ in os.walk(directory):
        for path in (Path(root), *(Path(root, name) for name in folders)):
            if not path.is_symlink():
                path.chmod(0o755)
    shutil.rmtree(directory)


def _git(project_dir: Path, *words: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(project_dir), *words], capture_output=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        raise ClusterError("git is not installed here; submit with --no-snapshot") from None
    if done.returncode:
        reason = " ".join(done.stderr.decode(errors="replace").split())
        raise ClusterError(
            f"{project_dir} cannot be frozen: {reason}; submit from a git checkout with at least "
            "one commit, or with --no-snapshot"
        )
    return done.stdout
