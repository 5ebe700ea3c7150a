"""A few of the random schedules; `python -m tests.prove server` runs a thousand."""

from pathlib import Path

import pytest

from tests.server.schedules import run_schedule


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_nothing_is_lost_or_shown_to_others(seed: int, tmp_path: Path) -> None:
    assert run_schedule(tmp_path, seed).total() == 25
