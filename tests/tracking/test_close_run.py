"""The last words of a run that could not say them."""

from tests.processes import run_python


def test_nothing_is_said_of_a_run_without_a_server() -> None:
    done = run_python("-m", "agent.tracking.close_run", "stopped", WANDB_MODE="offline")
    assert done.stdout + done.stderr == ""
