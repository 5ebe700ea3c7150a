"""Signals: one flag, looked at between steps."""

import os
import signal

import pytest

from agent.signals import signals_wait
from tests.processes import run_python

CODE = """
import os, signal, sys
from agent import signals
signals.install()
for name in "{name}".split():
    os.kill(os.getpid(), getattr(signal, name))
try:
    signals.check()
except signals.Interrupted as interrupted:
    print(interrupted.kind.name)
    sys.exit(interrupted.kind.value)
"""


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("SIGUSR2", "PREEMPTED", 75),
        ("SIGTERM", "STOPPED", 143),
        ("SIGINT", "STOPPED", 143),
        ("SIGTERM SIGUSR2", "PREEMPTED", 75),
        ("SIGUSR2 SIGTERM", "PREEMPTED", 75),
    ],
)
def test_a_signal_sets_the_flag_and_the_exit_status_tells_why(
    name: str, kind: str, status: int
) -> None:
    assert run_python("-c", CODE.format(name=name), status=status).stdout.strip() == kind


LATE = """
import os, signal, threading
from agent import signals
signals.install()
os.kill(os.getpid(), signal.SIGTERM)
threading.Timer({after_s}, os.kill, (os.getpid(), signal.SIGUSR2)).start()
try:
    signals.check()
except signals.Interrupted as interrupted:
    while interrupted.kind.name == "STOPPED":
        {what}
    print(interrupted.kind.name)
"""


@pytest.mark.parametrize(
    ("after_s", "what"), [(0.2, "raise SystemExit('too early')"), (1.5, "pass")]
)
def test_what_slurms_sigterm_means_is_said_a_moment_later(after_s: float, what: str) -> None:
    """Within a second no end has begun; while the state is saved it is not too late either."""
    done = run_python("-c", LATE.format(after_s=after_s, what=what), SWEEP_AGENT_TASK="7_0")
    assert done.stdout.strip() == "PREEMPTED"


def test_without_a_signal_nothing_is_raised() -> None:
    from agent import signals

    assert signals.requested() is None
    signals.check()


def test_a_signal_waits_until_what_is_being_created_is_known() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        before = signal.getsignal(number)
        with signals_wait() as check:
            check()
            os.kill(os.getpid(), number)
            with pytest.raises(KeyboardInterrupt):
                check()
            with pytest.raises(KeyboardInterrupt):  # a second one does not wait
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) is before
