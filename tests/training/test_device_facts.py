"""What is said of the device before a library that drives it is loaded."""

from pathlib import Path

import pytest

from agent.training.facts.devices import NO_GPU, DeviceFacts, unused_gpu
from tests.training.lab import make_config

GPU = DeviceFacts("cuda", "NVIDIA H100", "13.0")


def test_a_gpu_that_is_held_and_not_used_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert unused_gpu(make_config(tmp_path, device="auto"), NO_GPU).startswith(
        "GPU 3 is held and not used"
    )
    assert unused_gpu(make_config(tmp_path, device="auto"), GPU) == ""
    assert unused_gpu(make_config(tmp_path, device="cpu"), NO_GPU) == ""


@pytest.mark.parametrize("visible", ["", " "])
def test_without_a_gpu_there_is_nothing_to_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert unused_gpu(make_config(tmp_path, device="auto"), NO_GPU) == ""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert unused_gpu(make_config(tmp_path, device="auto"), NO_GPU) == ""
