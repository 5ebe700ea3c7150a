"""What a measurement was made on: device, driver and libraries. Times compare only within one."""

import hashlib
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.training.facts import base_files
from agent.training.facts.devices import DeviceFacts

if TYPE_CHECKING:
    import torch

_DRIVER_FILE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Hardware:
    """`gpu` is "cpu" where there is none; then `cpu` and `cpu_threads` tell machines apart."""

    gpu: str
    cpu: str
    cpu_threads: int
    driver: str | None
    cuda: str | None
    libraries: Mapping[str, str]

    @property
    def setup(self) -> str:
        """Everything that can change a latency, in one line."""
        place = [f"{self.cpu}, {self.cpu_threads} threads"]
        if self.gpu != "cpu":
            place = [self.gpu, f"driver {self.driver or 'unknown'}", f"CUDA {self.cuda}"]
        return ", ".join([*place, *(f"{n} {v}" for n, v in sorted(self.libraries.items()))])

    @property
    def key(self) -> str:
        """The setup in the characters and the length of a metric's group."""
        name = re.sub(r"[^a-z0-9]+", "-", (self.cpu if self.gpu == "cpu" else self.gpu).lower())
        return f"{name.strip('-')[:40]}-{hashlib.sha256(self.setup.encode()).hexdigest()[:6]}"

    def values(self) -> dict[str, object]:
        """As logged with an inference run."""
        return {
            "hardware/gpu": self.gpu,
            "hardware/cpu": self.cpu,
            "hardware/cpu_threads": self.cpu_threads,
            "hardware/driver": self.driver,
            "hardware/cuda": self.cuda,
            **{f"versions/{name}": text for name, text in self.libraries.items()},
        }


def describe(device: "torch.device") -> Hardware:
    """The hardware and software that `device` belongs to."""
    import torch

    on_gpu = device.type == "cuda"
    return Hardware(
        gpu=torch.cuda.get_device_name(device) if on_gpu else "cpu",
        cpu=_cpu_name(),
        cpu_threads=torch.get_num_threads(),
        driver=_driver() if on_gpu else None,
        cuda=torch.version.cuda if on_gpu else None,
        libraries=base_files.library_versions(),
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _driver() -> str | None:
    """Version of the NVIDIA driver: from the kernel, else from nvidia-smi, else unknown."""
    try:
        return driver_version(_DRIVER_FILE.read_text())
    except OSError:
        pass
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return driver_version(done.stdout)


def driver_version(text: str) -> str | None:
    """The first thing that looks like a driver's version (`550.54.15`) in what the kernel says."""
    found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", text)
    return found.group() if found else None


def training_values(facts: DeviceFacts) -> dict[str, object]:
    """What a run trains on, as logged; the driver and CUDA are None without a GPU."""
    on_gpu = facts.type == "cuda"
    return {
        "train/gpu": facts.name,
        "train/driver": _driver() if on_gpu else None,
        "train/cuda": facts.cuda if on_gpu else None,
    }
