"""Whose fault an end is: one table, asked by train.py, tracking and the cluster's supervisor."""

import errno
import os
import sqlite3

import pytest

from agent.errors import (
    ConfigError,
    DataError,
    Fault,
    StoreError,
    StudyError,
    TrainingDiverged,
    fault_of,
    one_line,
)


def raised_from(cause: BaseException, error: Exception) -> Exception:
    """`error` as `raise error from None` inside `except cause` leaves it."""
    try:
        try:
            raise cause
        except BaseException:
            raise error from None
    except Exception as caught:
        return caught


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/store/x")


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ConfigError(["learning_rate = x"]), Fault.CALL),
        (DataError("no answers"), Fault.CALL),
        (FileNotFoundError(errno.ENOENT, "No such file", "a"), Fault.CALL),
        (TrainingDiverged("nan"), Fault.RESULT),
        (FULL, Fault.SITE),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), Fault.SITE),
        (PermissionError(errno.EACCES, "Permission denied", "a"), Fault.SITE),
        (raised_from(FULL, StudyError("the pruning journal cannot be written")), Fault.SITE),
        (raised_from(FULL, StoreError("was written but cannot be read back")), Fault.SITE),
        (sqlite3.OperationalError("database or disk is full"), Fault.SITE),
        (RuntimeError("I/O error: No space left on device (os error 28)"), Fault.SITE),
        (StudyError("postgresql: connection refused"), Fault.SITE),
        (StudyError("no such storage"), Fault.CALL),
        (ZeroDivisionError(), Fault.PROGRAM),
    ],
)
def test_every_error_has_one_fault(error: BaseException, fault: Fault) -> None:
    assert fault_of(error) is fault


def test_exit_statuses_tell_the_faults_apart() -> None:
    assert len({fault.exit_status for fault in Fault}) == len(Fault)


def test_an_error_of_the_system_is_reported_with_its_file() -> None:
    assert one_line(FULL) == "No space left on device: /store/x"
    assert one_line(ZeroDivisionError()) == "ZeroDivisionError"
