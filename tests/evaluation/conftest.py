"""The same surroundings as for trainings."""

from pathlib import Path

import pytest

from tests.training.conftest import ignore_known_warnings, one_thread, undisturbed

__all__ = ["one_thread", "undisturbed"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ignore_known_warnings(items, Path(__file__).parent)
