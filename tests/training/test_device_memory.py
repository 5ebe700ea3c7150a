"""Models go when their last owner does, by counting alone, and a failed attempt leaves nothing."""

import gc
import resource
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from agent.errors import ModelTooLarge, OutOfMemory
from agent.evaluation import deployments, validation
from agent.training import base_model, device_memory
from agent.training.trainer import Trainer
from tests.training import lab


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Without the collector of cycles, as a model of gigabytes would have to go."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(("variant", "strategy"), [lab.CELLS[0], *lab.CELLS[3:]])
@pytest.mark.usefixtures("uncollected")
def test_a_trained_and_scored_base_goes_with_its_training(
    tmp_path: Path, variant: str, strategy: str
) -> None:
    values = {"model_variant": variant, "quantization_strategy": strategy, "eval_examples": 4}
    training = lab.open_training(tmp_path, values)
    for point in training.points():
        validation.score_point(training, point)
    weights = [weakref.ref(p) for p in training.base.model.parameters()]
    training.free()
    assert [w for w in weights if w() is not None] == []


@pytest.mark.parametrize(("variant", "strategy"), lab.CELLS)
@pytest.mark.usefixtures("uncollected")
def test_a_deployment_goes_after_its_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, strategy: str
) -> None:
    values = {"model_variant": variant, "quantization_strategy": strategy, "eval_examples": 4}
    training = lab.open_training(tmp_path, values)
    following = training.points()
    point = next(following)
    built: list[Any] = []
    deploy = deployments.deploy

    def noted(*arguments: Any) -> Any:
        model = deploy(*arguments)
        own = {id(p) for p in training.base.model.parameters()}
        built.extend(weakref.ref(p) for p in model.parameters() if id(p) not in own)
        return model

    monkeypatch.setattr(deployments, "deploy", noted)
    validation.score_point(training, point)
    following.close()
    assert built
    assert [w for w in built if w() is not None] == []


@pytest.mark.usefixtures("uncollected")
def test_after_an_out_of_memory_the_first_base_is_gone_although_its_error_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: Any) -> float:
        held = torch.zeros(10)
        bases.append(weakref.ref(held))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(Trainer, "_forward_backward", no_room)
    training = lab.open_training(
        tmp_path, {"model_variant": "QLoRA", "quantization_strategy": "int4"}
    )
    bases: list[weakref.ref[Any]] = [weakref.ref(p) for p in training.base.model.parameters()]
    with pytest.raises(OutOfMemory, match="out of memory at step 1 with 8 examples") as caught:
        lab.run_through(training)
    assert [w for w in bases if w() is not None] == []
    assert caught.value.__context__ is None
    monkeypatch.undo()
    smaller = {"micro_batch_size": 4, "model_variant": "QLoRA", "quantization_strategy": "int4"}
    lab.run_through(lab.open_training(tmp_path, smaller))  # the lease was given back


def test_a_base_that_does_not_fit_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(base_model, "load", no_room)
    with pytest.raises(ModelTooLarge, match="at 16bit does not fit into the memory of cpu"):
        lab.run_through(lab.open_training(tmp_path))


def test_an_attempt_gives_its_result_or_the_reason_and_lets_other_errors_through() -> None:
    assert device_memory.attempt(lambda: 3) == 3

    def fail(error: Exception) -> None:
        raise error

    short = device_memory.attempt(lambda: fail(torch.OutOfMemoryError("none left\nmore")))
    assert short == device_memory.Shortage("none left")
    with pytest.raises(ValueError, match="other"):
        device_memory.attempt(lambda: fail(ValueError("other")))


@pytest.mark.skipif(sys.platform != "linux", reason="asks the C library of Linux")
def test_freed_blocks_serve_the_next_tensors_on_a_cpu() -> None:
    """Their pages are not made anew."""
    if not device_memory.reuse_freed(torch.device("cpu")):
        pytest.skip("another C library than glibc")
    torch.ones(6 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(6 << 20)
    made = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert made < 20 * (24 << 20) / resource.getpagesize() / 4
    assert not device_memory.reuse_freed(torch.device("meta"))
