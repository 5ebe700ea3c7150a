"""Quiet libraries, and one finished training that tests may read."""

from dataclasses import dataclass
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def quiet_libraries() -> None:
    from agent.log_noise import quieten_libraries

    quieten_libraries()


@dataclass
class Finished:
    """A training that ran undisturbed; every state of it is kept."""

    root: Path
    places: list[Path]  # its evaluation points
    losses: list[tuple[int, float]]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    from agent.training.store import TrainingDirectory
    from tests.training import lab

    root = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingDirectory, "drop_states", lambda *_, **__: None)
        points = list(lab.open_training(root, run_id="first").points())
    return Finished(root, [p.directory for p in points], lab.losses_of(points))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ignore_known_warnings(items, Path(__file__).parent)


def ignore_known_warnings(items: list[pytest.Item], folder: Path) -> None:
    """What log_noise silences in a run: names that PEFT still uses, casts that LLM.int8 makes."""
    for item in items:
        if item.path.is_relative_to(folder):
            for message in (
                ".*is_gradient_checkpointing.*deprecated",
                ".*torch.jit.script_method.*deprecated",
            ):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:{message}"))
