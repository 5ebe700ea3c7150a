"""Which ends of a program speak against the program itself."""

import signal

import pytest

from agent.tracking.early_ends import is_own_end, last_line


@pytest.mark.parametrize("code", [1, 2, 127, 126, -signal.SIGSEGV, 128 + signal.SIGABRT])
def test_an_error_and_a_crash_are_the_programs_own(code: int) -> None:
    assert is_own_end(code)


@pytest.mark.parametrize(
    "code", [0, 74, 75, 76, 143, 130, 137, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGUSR2]
)
def test_success_a_signal_and_what_is_tried_again_are_not(code: int) -> None:
    """A killed program, as by the host's out-of-memory killer, gets its attempts."""
    assert not is_own_end(code)


def test_the_last_line_of_a_log_is_the_programs() -> None:
    text = (
        "Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'\n\n"
        "2026-11-27 07:16:48,098 - wandb.wandb_agent - INFO - Running runs: ['a']\n"
        "\tlearning_rate: 0.1\nwandb: syncing\n[supervisor 2026-11-27T07:16:48.213] worker 0\n"
        "agent: run b ended\n"
    )
    assert last_line(text) == "ModuleNotFoundError: No module named 'x'"
    assert last_line("wandb: only\n") == ""
