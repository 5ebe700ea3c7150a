from collections.abc import Iterator
from pathlib import Path

import pytest
from server_lab import Lab

from agent.server.claims import Policy


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path, Policy(lease_s=300, silence_s=300, settle_s=10, max_attempts=3))
    yield made
    made.http.close()
    made.services.database.close()
