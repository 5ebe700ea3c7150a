"""Signals of a task as a queue."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from agent.cluster.job.supervisor import SIGNALS, Inbox


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGCHLD)}
    inbox = Inbox()
    inbox.listen()
    yield inbox
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_wait_ends_when_a_child_has_ended(inbox: Inbox) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert inbox.wait(0) is None
    assert child.stdin is not None
    child.stdin.close()
    assert inbox.wait(3600) is None  # an hour would be seen
    child.wait()
    assert not inbox.has_received_any


def test_a_signal_that_comes_with_the_end_of_a_child_is_kept(inbox: Inbox) -> None:
    subprocess.run(["true"], check=True)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert inbox.wait(3600) == signal.SIGUSR1
    assert inbox.has_received(signal.SIGUSR1)
