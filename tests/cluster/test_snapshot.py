"""Snapshots: what was submitted is what runs, and it is found again by commit and content."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.cluster.snapshot import (
    Snapshot,
    describe,
    differences,
    freeze,
    read_manifest,
    remove,
)
from agent.cluster.sweep_records import SweepRecord, SweepRecords, check_same_code
from agent.errors import ClusterError, ConfigError


def git(directory: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *who, *words], cwd=directory, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    (directory / "agent").mkdir(parents=True)
    (directory / "agent" / "code.py").write_text("VALUE = 1\n")
    (directory / "train.py").write_text("from agent import code\nprint(code.VALUE)\n")
    (directory / "requirements.lock").write_text("a==1\n")
    (directory / ".gitignore").write_text("outputs/\ndata/big.bin\n__pycache__/\n")
    (directory / "data").mkdir()
    (directory / "data" / "big.bin").write_text("big")
    git(directory, "init", "-q")
    git(directory, "add", ".")
    git(directory, "commit", "-q", "-m", "start")
    return directory


def test_a_snapshot_keeps_running_the_code_it_was_made_from(project: Path) -> None:
    path, snapshot = freeze(project, project / "outputs" / "snapshots")
    (project / "agent" / "code.py").write_text("VALUE = 2\n")
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
    assert read_manifest(path) == snapshot
    assert snapshot.diff_digest == ""
    assert len(snapshot.lock_digest) == 12
    remove(path)


def test_what_git_ignores_is_the_original_so_that_relative_paths_mean_the_same(
    project: Path,
) -> None:
    path, _ = freeze(project, project / "outputs" / "snapshots")
    assert (path / "data" / "big.bin").resolve() == project / "data" / "big.bin"
    (path / "outputs" / "result").write_text("written by a run")
    assert (project / "outputs" / "result").read_text() == "written by a run"
    remove(path)
    assert (project / "outputs" / "result").exists()


def test_a_snapshot_cannot_be_written(project: Path) -> None:
    path, _ = freeze(project, project / "outputs" / "snapshots")
    modes = [p.stat().st_mode & 0o222 for p in path.rglob("*.py")]
    assert modes == [0, 0]
    assert path.stat().st_mode & 0o222 == 0
    remove(path)


def test_the_same_tree_gives_the_same_snapshot_and_a_changed_one_another(project: Path) -> None:
    snapshots = project / "outputs" / "snapshots"
    first, before = freeze(project, snapshots)
    assert freeze(project, snapshots)[0] == first
    (project / "new.py").write_text("untracked code counts as well\n")
    (project / "train.py").write_text("print(3)\n")
    second, after = freeze(project, snapshots)
    assert first != second
    assert (second / "new.py").exists()
    assert after.commit == before.commit
    found = differences(before, describe(project))
    assert [text.split(":")[0] for text in found] == ["uncommitted changes", "code"]
    for path in (first, second):
        remove(path)


def test_two_that_submit_at_the_same_time_share_one_snapshot(project: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: freeze(project, project / "outputs" / "s")[0], range(4)))
    assert len(set(made)) == 1
    assert [path.name for path in made[0].parent.iterdir()] == [made[0].name]


def test_outside_git_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="--no-snapshot"):
        freeze(tmp_path, tmp_path / "snapshots")


def test_a_directory_without_manifest_is_no_snapshot(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


def test_a_sweep_remembers_its_code_and_jobs(tmp_path: Path) -> None:
    records = SweepRecords(tmp_path)
    records.add_job("e/p/s", "12", file="/x/a.yaml", snapshot="/snap/1", log="/logs/%A_%a")
    records.add_job("e/p/s", "13", file="", snapshot="", log="/logs/%A_%a")
    (found,) = records.all()
    assert (found.jobs, found.snapshot, found.file) == (("12", "13"), "/snap/1", "/x/a.yaml")
    assert records.find("e/p/other") is None


def test_other_code_is_refused_unless_allowed() -> None:
    record = SweepRecord("e/p/s", snapshot="/snap/1")
    check_same_code([record, None], "/snap/1", allow_new_code=False)
    check_same_code([record], "/snap/2", allow_new_code=True)
    with pytest.raises(ConfigError, match="already runs the code in /snap/1, not /snap/2"):
        check_same_code([record], "/snap/2", allow_new_code=False)


def test_snapshots_differ_in_what_they_say() -> None:
    then = Snapshot("n", "a" * 40, "", "code", "lock", "/p")
    assert differences(then, then) == []
