"""The same surroundings as for trainings."""

from pathlib import Path

import pytest

from tests.training.conftest import ignore_known_warnings, quiet_libraries, undisturbed

__all__ = ["quiet_libraries", "undisturbed"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ignore_known_warnings(items, Path(__file__).parent)
