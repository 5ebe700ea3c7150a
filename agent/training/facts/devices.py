"""Which device this process would train on, known without loading the libraries that drive it.

A run that finds its points and scores in the store needs no device, but it needs its name: the
type of device is part of a training's key, and the GPU is logged. Where a machine may have a GPU,
torch is asked once for each boot of it, and the answer lies in the store.
"""

import hashlib
import json
import os
import socket
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from agent import files
from agent.config.run_config import RunConfig

FOLDER = "devices"
_NODES = ("nvidia[0-9]*", "nvidia-caps", "dxg", "kfd")  # what a driver shows under /dev
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class DeviceFacts:
    """`type` is torch's ("cpu", "cuda"); `name` the GPU's, "cpu" without one; `cuda` the release
    that torch was built for."""

    type: str
    name: str
    cuda: str | None = None


NO_GPU = DeviceFacts("cpu", "cpu")


def facts(config: RunConfig, store: Path) -> DeviceFacts:
    """The device that `base_model.choose_device` chooses. ConfigError when it would refuse."""
    if config.device == "cpu" or (config.device == "auto" and not may_have_gpu()):
        return NO_GPU
    remembered = store / FOLDER / f"{_place_key(config)}.json"
    try:
        return DeviceFacts(**json.loads(remembered.read_text()))
    except (OSError, ValueError, TypeError):
        found = _ask_torch(config)
    remembered.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(remembered, asdict(found))
    return found


def unused_gpu(config: RunConfig, device: DeviceFacts) -> str:
    """Why a run that was given a GPU does not use it; empty where it does, or need not."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    if device.type != "cpu" or config.device != "auto" or not given:
        return ""
    return (
        f"GPU {given} is held and not used: PyTorch {version('torch')} finds no CUDA device, so "
        "this run trains on the CPU; install a build for the driver, or say device: cpu to mean it"
    )


def may_have_gpu() -> bool:
    return any(any(Path("/dev").glob(pattern)) for pattern in _NODES)


def _place_key(config: RunConfig) -> str:
    """What the answer depends on: the machine since it was started, and what is visible of it."""
    boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
    names = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "LOCAL_RANK")
    visible = [os.environ.get(name) for name in names]
    words = [socket.gethostname(), boot, config.device, version("torch"), visible]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:32]


def _ask_torch(config: RunConfig) -> DeviceFacts:
    import torch

    from agent.training import base_model

    device = base_model.choose_device(config)
    return DeviceFacts(device.type, base_model.device_name(device), torch.version.cuda)
