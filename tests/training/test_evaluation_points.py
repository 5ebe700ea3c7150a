"""A training on the real libraries: shared, resumed to the bit, handed over, never repeated."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from agent.errors import TrainingDiverged
from agent.signals import Interrupted, Interruption
from agent.training import store
from agent.training.lease import is_held
from agent.training.store import TrainingDirectory
from tests.training import lab
from tests.training.conftest import Finished

EVERY_STEP = {"checkpoint_every_min": 1e-9}


@pytest.fixture
def keep_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingDirectory, "drop_states", lambda *_, **__: None)


def finish(root: Path, values: dict[str, Any] | None = None, **options: Any) -> list[Any]:
    return list(lab.open_training(root, values, **options).points())


# ------------------------------------------------------------------ sharing
def test_three_cells_execute_one_training(tmp_path: Path) -> None:
    finished = {}
    steps_trained: list[int] = []
    for variant, strategy in lab.CELLS[:3]:
        training = lab.open_training(
            tmp_path,
            {"model_variant": variant, "quantization_strategy": strategy},
            run_id=f"{variant} {strategy}",
            on_step=lambda loss: steps_trained.append(loss.step),
        )
        finished[variant, strategy] = (training, list(training.points()))
    keys = {training.key for training, _ in finished.values()}
    assert len(keys) == 1
    first, *others = [points for _, points in finished.values()]
    assert all(points == first for points in others)  # same curve, cost, adapters
    assert {p.run_id for p in first} == {"Full LoRA None"}
    assert steps_trained == [1, 2, 3, 5, 6, 7]  # steps 4 and 8 come with their points
    assert "base" not in finished["LoRA+PTQ", "int4"][0].__dict__  # nothing was loaded to read


def test_cells_that_train_on_another_base_have_other_trainings(tmp_path: Path) -> None:
    keys = set()
    for variant, strategy in lab.CELLS:
        values = {"model_variant": variant, "quantization_strategy": strategy}
        keys.add(lab.open_training(tmp_path, values).key)
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("values", "same"),
    [
        ({"checkpoint_every_min": 3, "log_every_steps": 1}, True),
        ({"eval_batch_size": 3, "max_new_tokens": 9}, True),
        ({"micro_batch_size": 8}, True),  # the batch size itself: one forward pass either way
        ({"micro_batch_size": 2}, False),
        ({"max_length": 127}, False),
        ({"learning_rate": 4e-3}, False),
        ({"seed": 1}, False),
        ({"gradient_checkpointing": True}, False),
        ({"validation_fraction": 0.5}, False),  # leaves other training examples
    ],
)
def test_the_key_holds_what_changes_the_adapter(
    tmp_path: Path, values: dict[str, Any], same: bool
) -> None:
    keys = {lab.open_training(tmp_path, v).key for v in ({}, values)}
    assert (len(keys) == 1) is same


# ------------------------------------------------------------------ resuming
@pytest.mark.parametrize(
    ("step", "values", "repeated"),
    [
        (2, {}, 2),  # before anything was saved
        (3, EVERY_STEP, 1),  # the step after the newest step checkpoint
        (6, {}, 2),  # after an evaluation point
        (7, EVERY_STEP, 1),
    ],
)
@pytest.mark.usefixtures("keep_states")
def test_a_training_killed_at_any_step_ends_with_the_same_bits(
    tmp_path: Path, undisturbed: Finished, step: int, values: dict[str, Any], repeated: int
) -> None:
    training = lab.open_training(tmp_path, values, run_id="killed", on_step=lab.kill_at(step))
    assert lab.in_child(lambda: lab.run_through(training)) == -signal.SIGKILL
    again: list[int] = []
    points = finish(tmp_path, values, run_id="second", on_step=lambda x: again.append(x.step))
    assert again[0] == step + 1 - repeated
    assert lab.losses_of(points) == undisturbed.losses
    for point, place in zip(points, undisturbed.places, strict=True):
        lab.assert_equal_bits(point.directory, place)


@pytest.mark.usefixtures("keep_states")
def test_what_happens_between_two_points_does_not_change_the_second(
    tmp_path: Path, undisturbed: Finished
) -> None:
    points = []
    for point in lab.open_training(tmp_path).points():
        torch.rand(1000)
        torch.manual_seed(99)
        points.append(point)
    assert lab.losses_of(points) == undisturbed.losses
    lab.assert_equal_bits(points[-1].directory, undisturbed.places[-1])


class Signal:
    """A check that raises at its nth call, as if a signal had come."""

    def __init__(self, call: int) -> None:
        self.left = call

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Interrupted(Interruption.PREEMPTED)


@pytest.mark.usefixtures("keep_states")
def test_a_signal_saves_the_step_and_gives_the_lease_back(
    tmp_path: Path, undisturbed: Finished
) -> None:
    training = lab.open_training(tmp_path, check=Signal(4))
    with pytest.raises(Interrupted, match="preempted"):
        list(training.points())
    (saved,) = training.directory.path.glob("step-*")
    assert not is_held(training.directory.path)
    again: list[int] = []
    points = finish(tmp_path, on_step=lambda x: again.append(x.step))
    assert again[0] == int(saved.name.removeprefix("step-")) + 1  # nothing is trained twice
    assert lab.losses_of(points) == undisturbed.losses
    lab.assert_equal_bits(points[-1].directory, undisturbed.places[-1])
    assert not list(training.directory.path.glob("step-*"))
    assert points[-1].cost.samples == 2 * len(training.data.train)


def test_optimizer_state_goes_when_a_training_ends(tmp_path: Path) -> None:
    points = finish(tmp_path)
    assert not any((p.directory / store.TRANSIENT).exists() for p in points)
    assert [p.number for p in finish(tmp_path)] == [1, 2]


def test_a_pruned_run_gives_its_training_to_the_next(tmp_path: Path) -> None:
    following = lab.open_training(tmp_path, run_id="pruned").points()
    next(following)
    following.close()
    points = finish(tmp_path, run_id="next")
    assert [p.run_id for p in points] == ["pruned", "next"]


@pytest.mark.usefixtures("keep_states")
def test_a_damaged_point_is_trained_again_from_the_one_before(
    tmp_path: Path, undisturbed: Finished
) -> None:
    first = finish(tmp_path)
    weights = first[1].adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    again: list[int] = []
    points = finish(tmp_path, on_step=lambda x: again.append(x.step))
    assert again == [5, 6, 7]
    assert points[0] == first[0]
    lab.assert_equal_bits(points[-1].directory, undisturbed.places[-1])


@pytest.mark.parametrize("optimizer", ["adamw_fused", "adamw_8bit"])
@pytest.mark.usefixtures("keep_states")
def test_other_optimizers_resume_to_the_same_bits(tmp_path: Path, optimizer: str) -> None:
    # A rank at which bitsandbytes keeps 8-bit state: smaller tensors stay at 32 bits.
    values = {"optimizer": optimizer, "micro_batch_size": 4, "lora_rank": 64}
    whole = finish(tmp_path, {**values, "store": str(tmp_path / "whole")})
    following = lab.open_training(tmp_path, values).points()
    next(following)
    following.close()
    points = finish(tmp_path, values)
    lab.assert_equal_bits(points[-1].directory, whole[-1].directory)


@pytest.mark.parametrize(
    "cell", [("Full LoRA", "None"), ("QLoRA", "int4"), ("QLoRA", "int8")], ids=str
)
@pytest.mark.usefixtures("keep_states")
def test_steps_without_dropout_which_are_fused_resume_to_the_same_bits(
    tmp_path: Path, cell: tuple[str, str]
) -> None:
    values = {"lora_dropout": 0.0, "model_variant": cell[0], "quantization_strategy": cell[1]}
    whole = finish(tmp_path, {**values, "store": str(tmp_path / "whole")})
    training = lab.open_training(
        tmp_path, {**values, "checkpoint_every_min": 1e-9}, on_step=lab.kill_at(6)
    )
    assert lab.in_child(lambda: lab.run_through(training)) == -signal.SIGKILL
    points = finish(tmp_path, values)
    assert lab.losses_of(points) == lab.losses_of(whole)
    lab.assert_equal_bits(points[-1].directory, whole[-1].directory)


# ------------------------------------------------------------------ two workers
def test_of_two_workers_at_the_same_instant_one_trains_and_both_end_equal(tmp_path: Path) -> None:
    lab.make_config(tmp_path)  # writes the data
    start = time.monotonic() + 1.0

    def work(name: str) -> None:
        training = lab.open_training(tmp_path, run_id=name)
        time.sleep(max(0.0, start - time.monotonic()))
        points = list(training.points())
        lines = [f"{p.digest} {p.run_id}\n" for p in points]
        (tmp_path / name).write_text("".join(lines))

    def both() -> None:
        import os

        if (other := os.fork()) == 0:
            code = 70
            try:
                work("b")
                code = 0
            finally:
                os._exit(code)
        work("a")
        assert os.waitpid(other, 0)[1] == 0

    assert lab.in_child(both) == 0
    first, second = ((tmp_path / name).read_text() for name in "ab")
    assert first == second
    assert len({line.split()[1] for line in first.splitlines()}) == 1


def test_a_worker_that_was_overtaken_follows_and_ends_equal(
    tmp_path: Path, undisturbed: Finished
) -> None:
    """Its lease is taken away in the middle; what it had in memory is not in the chain."""
    others: list[Any] = []

    def overtake(loss: Any) -> None:
        if loss.step == 6 and not others:
            directory = training.directory.path
            (directory / "lease" / "0001.json").write_text("{}")  # stands still, elsewhere
            lease = lab.take_over(directory)
            others.append(lease)
            lease.release()

    training = lab.open_training(tmp_path, on_step=overtake)
    points = list(training.points())
    assert others
    assert lab.losses_of(points) == undisturbed.losses


# ------------------------------------------------------------------ results that are not a training
def break_weights(model: torch.nn.Module) -> None:
    for weights in model.parameters():
        if weights.requires_grad:
            weights.data.fill_(float("nan"))


def test_a_loss_that_is_no_number_ends_the_training_for_every_run(tmp_path: Path) -> None:
    for run in ("first", "second"):
        training = lab.open_training(tmp_path, run_id=run, on_model=break_weights)
        with pytest.raises(TrainingDiverged, match=r"loss became nan at step 1 of 8 .* 0\.005"):
            list(training.points())
        assert not is_held(training.directory.path)
        assert ("base" in training.__dict__) is (run == "first")  # the second only reads it
