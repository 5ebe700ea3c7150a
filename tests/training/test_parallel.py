"""Two processes under torchrun's variables train as one: same steps, saved once, resumed alike."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from agent.errors import TrainingDiverged
from agent.interruption import Interrupted, Interruption
from agent.training.store import TrainingDirectory
from training import lab
from training.conftest import Finished

VALUES: dict[str, Any] = {"lora_dropout": 0.0, "compute_dtype": "float32", "learning_rate": 1e-3}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def as_team(lead: Callable[[], None], help_: Callable[[], None]) -> list[int]:
    """Exit codes of a run and its helper, each in a process of its own."""
    port = str(free_port())

    def member(rank: int) -> Callable[[], None]:
        def work() -> None:
            os.environ.update(
                RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port
            )
            (help_ if rank else lead)()

        return work

    def both() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(lab.run_guarded(member(1)))
        code = lab.run_guarded(member(0))
        other = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os._exit(code * 10 + other)

    code = lab.in_child(both)
    return [code // 10, code % 10]


def train_as_team(root: Path, values: dict[str, Any], **options: Any) -> list[int]:
    def lead() -> None:
        list(lab.open_training(root, values, run_id="team", **options).points())

    return as_team(lead, lambda: lab.open_training(root, values).help())


@pytest.fixture(autouse=True)
def keep_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingDirectory, "drop_states", lambda *_, **__: None)


def places(root: Path) -> list[Path]:
    return sorted(root.glob("*/eval-*"))


def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    alone = list(lab.open_training(tmp_path, VALUES).points())
    values = {**VALUES, "store": str(tmp_path / "team")}
    assert train_as_team(tmp_path, values) == [0, 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        training = lab.open_training(tmp_path, values)
        patch.setattr(training.team, "order", lambda *_: None)
        together = list(training.points())
    assert training.key != lab.open_training(tmp_path, VALUES).key
    for one, two in zip(lab.losses_of(alone), lab.losses_of(together), strict=True):
        assert two == (one[0], pytest.approx(one[1], rel=1e-4))
    assert together[-1].cost.samples == alone[-1].cost.samples  # global, counted once
    assert together[-1].cost.devices == 2
    assert together[-1].cost.device_seconds == 2 * together[-1].cost.train_seconds
    first, second = (lab.tensors_of(p[-1].directory) for p in (alone, together))
    for name in first:
        if name.startswith("adapter"):
            torch.testing.assert_close(second[name], first[name], rtol=1e-2, atol=1e-4)


def test_an_interrupted_team_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    values = {**VALUES, "lora_dropout": 0.1, "store": str(tmp_path / "whole")}
    assert train_as_team(tmp_path, values) == [0, 0]
    calls: list[int] = []

    def interrupt() -> None:
        calls.append(1)
        if len(calls) == 5:
            raise Interrupted(Interruption.PREEMPTED)

    values["store"] = str(tmp_path / "cut")
    # The run ends with its own exception (1), its helper in peace.
    assert train_as_team(tmp_path, values, check_interruption=interrupt) == [1, 0]
    assert len(list((tmp_path / "cut").glob("*/step-*"))) == 1
    assert train_as_team(tmp_path, values) == [0, 0]
    for whole, cut in zip(places(tmp_path / "whole"), places(tmp_path / "cut"), strict=True):
        lab.assert_equal_bits(whole, cut)


def test_a_team_that_diverges_ends_together(tmp_path: Path) -> None:
    def spoil(model: Any) -> None:
        for weights in model.parameters():
            if weights.requires_grad:
                weights.data.fill_(float("nan"))

    assert train_as_team(tmp_path, VALUES, on_model=spoil) == [1, 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        training = lab.open_training(tmp_path, VALUES)
        patch.setattr(training.team, "order", lambda *_: None)
        with pytest.raises(TrainingDiverged, match="loss became nan at step 1"):
            list(training.points())


def test_one_process_needs_no_team(undisturbed: Finished) -> None:
    assert not torch.distributed.is_initialized()
    assert undisturbed.losses
