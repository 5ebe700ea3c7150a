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


def test_one_violation_is_one_line_and_many_are_a_list_that_can_be_read() -> None:
    assert str(ConfigError(["a = 1: too small"], where="the plan")) == "the plan: a = 1: too small"
    two = ConfigError(["a", "b"], where="the plan")
    assert str(two) == "2 problems in the plan:\n  - a\n  - b"
    many = ConfigError([f"point {number}" for number in range(100)])
    assert len(many.problems) == 100
    lines = str(many).splitlines()
    assert lines[0] == "100 problems in the configuration:"
    assert (len(lines), lines[-1]) == (42, "  and 60 more")
