from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.server.store.claims import Policy
from tests.server.server_lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path, Policy(lease_s=300, silence_s=300, settle_s=10, max_attempts=3))
    yield made
    made.http.close()
    made.services.database.close()
