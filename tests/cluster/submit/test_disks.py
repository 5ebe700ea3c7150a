"""A directory that takes no data is named in one sentence."""

import errno
import os
from pathlib import Path

import pytest

from agent import files
from agent.cluster.submit.disks import disk_problems


def refuse(monkeypatch: pytest.MonkeyPatch, refused: Path, number: int) -> None:
    def check(directory: Path) -> None:
        if directory == refused:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "check_writable", check)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_full_one_of_two_is_named_with_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse(monkeypatch, tmp_path, number)
    logs = tmp_path / "not/yet/made"
    assert disk_problems(Path("/"), [logs, logs]) == [
        f"the log directory {logs} takes no data ({os.strerror(number)}): lines of running tasks "
        "are lost, and no new task can start"
    ]


def test_one_directory_for_both_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, tmp_path, errno.EDQUOT)
    (problem,) = disk_problems(tmp_path, [tmp_path])
    assert problem.startswith("the log directory")


def test_a_colleague_who_may_only_read_gets_no_complaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, tmp_path, errno.EACCES)
    assert disk_problems(tmp_path, [tmp_path]) == []
    assert disk_problems(tmp_path, []) == []
