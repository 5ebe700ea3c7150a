"""A run waits the site's faults out, and only those."""

import errno
import os

import pytest

from agent.errors import DataError
from agent.tracking.patience import LIMIT_S, Patience

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/store/x")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


def patience_of(clock: Clock) -> Patience:
    return Patience(lambda: None, limit_s=LIMIT_S, sleep=clock.sleep, clock=clock)


def test_a_disk_that_is_full_for_a_minute_is_waited_out(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()

    def write() -> str:
        if clock.now < 60:
            raise FULL
        return "written"

    assert patience_of(clock).keep_trying(write) == "written"
    assert clock.now < 120
    assert "waiting for the site: No space left on device: /store/x" in capsys.readouterr().out


def test_what_is_no_fault_of_the_site_is_raised_at_once() -> None:
    clock = Clock()
    with pytest.raises(DataError, match="no answers"):
        patience_of(clock).outlast(DataError("no answers"))
    assert clock.now == 0


def test_a_fault_that_lasts_ends_the_run_with_itself() -> None:
    clock = Clock()

    def write() -> None:
        raise FULL

    with pytest.raises(OSError, match="No space left"):
        patience_of(clock).keep_trying(write)
    assert LIMIT_S <= clock.now <= LIMIT_S + 120


def test_a_fault_that_comes_back_hours_later_has_the_whole_time_again() -> None:
    clock = Clock()
    patience = patience_of(clock)
    for _ in range(5):
        while clock.now % 10_000 < LIMIT_S - 120:
            patience.outlast(FULL)
        clock.now += 8_000
