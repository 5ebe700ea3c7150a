"""What tells two measuring places apart."""

from dataclasses import replace

import pytest
import torch

from agent.evaluation import hardware
from agent.evaluation.hardware import Hardware

GPU = Hardware(
    gpu="NVIDIA H100 80GB HBM3",
    cpu="A CPU",
    cpu_threads=8,
    driver="550.54.15",
    cuda="12.8",
    libraries={"torch": "2.13.0", "peft": "0.21.2"},
)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar 5 2024", "550.54.15"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release",
            "580.65.06",
        ),
        ("535.183\n", "535.183"),
        ("no driver here", None),
    ],
)
def test_the_driver_is_read_as_kernel_and_tool_write_it(text: str, version: str | None) -> None:
    assert hardware.driver_version(text) == version


def test_a_setup_names_gpu_driver_and_libraries() -> None:
    assert GPU.setup == (
        "NVIDIA H100 80GB HBM3, driver 550.54.15, CUDA 12.8, peft 0.21.2, torch 2.13.0"
    )
    assert GPU.key.startswith("nvidia-h100-80gb-hbm3-")
    assert GPU.values()["hardware/driver"] == "550.54.15"
    assert GPU.values()["versions/torch"] == "2.13.0"


def test_every_part_that_can_change_a_time_makes_another_setup() -> None:
    others = [
        replace(GPU, gpu="NVIDIA A100"),
        replace(GPU, driver="560.1"),
        replace(GPU, cuda="13.0"),
        replace(GPU, libraries={**GPU.libraries, "torch": "2.14.0"}),
    ]
    assert len({GPU.key, *(other.key for other in others)}) == 5
    assert replace(GPU, cpu_threads=4).key == GPU.key  # the GPU does the work


def test_on_a_cpu_its_name_and_threads_make_the_setup() -> None:
    found = hardware.describe(torch.device("cpu"))
    assert (found.gpu, found.driver, found.cuda) == ("cpu", None, None)
    assert found.cpu
    assert f"{found.cpu_threads} threads" in found.setup
    assert replace(found, cpu_threads=found.cpu_threads + 1).key != found.key
    assert set(found.libraries) == {"torch", "transformers", "peft", "bitsandbytes"}
