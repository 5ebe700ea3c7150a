"""The same surroundings as for trainings."""

from pathlib import Path

import pytest

from tests.training.conftest import one_thread, undisturbed

__all__ = ["one_thread", "undisturbed"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What log_noise silences in a run: names that PEFT still uses, casts that LLM.int8 makes."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for message in (
                ".*is_gradient_checkpointing.*deprecated",
                ".*torch.jit.script_method.*deprecated",
            ):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{message}"))
