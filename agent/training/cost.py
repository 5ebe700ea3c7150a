"""What a training costs: model FLOPs, seconds and peak memory.

FLOPs are counted on an unquantised twin on the meta device, since the counter sees nothing of
bitsandbytes' kernels: quantisation changes bytes and time, not the arithmetic of the model. The
count of one sequence is a*T + b*T*T exactly (linear layers and attention over full length), so
two lengths give it for all.
"""

import importlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from agent import files
from agent.config.run_config import RunConfig, digest
from agent.training import adapters, base_model

_LENGTHS = (8, 16)  # any two lengths determine the polynomial


@dataclass(frozen=True)
class StepFlops:
    """FLOPs of forward and backward of one sequence of T tokens: `linear`*T + `quadratic`*T*T."""

    linear: float
    quadratic: float

    def of(self, rows: int, length: int) -> float:
        return rows * (self.linear * length + self.quadratic * length * length)


def measure_step_flops(config: RunConfig, path: Path) -> StepFlops:
    """Count one training step on the twin: frozen weights get no weight gradients, and gradient
    checkpointing recomputes the forward pass; both are in the count because both really happen."""
    twin = adapters.attach(base_model.meta_twin(config, path, attention="eager"), config)
    if config.gradient_checkpointing:
        enable_checkpointing(twin)
    twin.train()
    first, second = (count_flops(twin, length) for length in _LENGTHS)
    quadratic = (second / _LENGTHS[1] - first / _LENGTHS[0]) / (_LENGTHS[1] - _LENGTHS[0])
    return StepFlops(first / _LENGTHS[0] - quadratic * _LENGTHS[0], quadratic)


def step_flops(
    config: RunConfig, path: Path, identity: Mapping[str, object], cache: Path
) -> StepFlops:
    """`measure_step_flops`, counted once for all trainings of one architecture and adapter.

    `identity` is that of the training, `cache` a directory.
    """
    shape = {name: value for name, value in identity.items() if name not in _WITHOUT_FLOPS}
    remembered = cache / f"{digest(shape)}.json"
    try:
        return StepFlops(**json.loads(remembered.read_text()))
    except (OSError, ValueError, TypeError):
        counted = measure_step_flops(config, path)
    cache.mkdir(parents=True, exist_ok=True)
    files.write_json(remembered, asdict(counted))
    return counted


# What a training's identity holds that does not change the arithmetic of one sequence.
_WITHOUT_FLOPS = frozenset(
    {
        "data",
        "learning_rate",
        "seed",
        "epochs",
        "batch_size",
        "micro_batch_size",
        "weight_decay",
        "warmup_ratio",
        "schedule",
        "max_grad_norm",
        "optimizer",
        "eval_every",
        "max_length",
        "training_precision",
        "world_size",
        "device",
        "prompt_format",
        "plan_format",
        "lora_alpha",
        "lora_dropout",
    }
)


def enable_checkpointing(model: Any) -> None:
    """The same policy for every base: recompute activations, keep inputs differentiable."""
    model.enable_input_require_grads()
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable()


def count_flops(model: torch.nn.Module, length: int, *, backward: bool = True) -> float:
    """FLOPs of one sequence of `length` tokens through a model on the meta device."""
    ids = torch.zeros(1, length, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter:
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        if backward:
            logits.float().sum().backward()
    return float(counter.get_total_flops())


@dataclass(frozen=True)
class Cost:
    """Cumulative cost of a training up to a point. Padding counts: the device computes it too.

    Seconds are those of training alone, without validation and without saving.
    """

    train_seconds: float = 0.0
    samples: int = 0
    tokens: int = 0
    flops: float = 0.0
    peak_vram_gb: float | None = None  # None where there is no such memory (CPU)
    peak_reserved_gb: float | None = None
    energy_joules: float | None = None  # of all devices; None where the driver does not tell
    save_seconds: float = 0.0  # step checkpoints
    devices: int = 1

    @property
    def device_seconds(self) -> float:
        return self.train_seconds * self.devices

    def plus(self, *, samples: int, tokens: int, flops: float) -> "Cost":
        return replace(
            self,
            samples=self.samples + samples,
            tokens=self.tokens + tokens,
            flops=self.flops + flops,
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Meter:
    """Measures a stretch of training: its time, energy, and the highest memory seen in it."""

    def __init__(self, device: torch.device, devices: int = 1) -> None:
        self._device, self._devices = device, devices
        reset_peak_memory(device)
        synchronise(device)
        self._energy = read_energy_joules(device, devices)
        self._started = time.perf_counter()
        self._saving = 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """For saving, which is counted apart."""
        synchronise(self._device)
        started = time.perf_counter()
        try:
            yield
        finally:
            self._saving += time.perf_counter() - started

    def read(self, before: Cost) -> Cost:
        """`before` and this stretch so far."""
        synchronise(self._device)
        elapsed = time.perf_counter() - self._started - self._saving
        allocated, reserved = peak_memory_gb(self._device)
        energy = read_energy_joules(self._device, self._devices)
        used = None if energy is None or self._energy is None else energy - self._energy
        return replace(
            before,
            train_seconds=before.train_seconds + elapsed,
            save_seconds=before.save_seconds + self._saving,
            peak_vram_gb=_highest((before.peak_vram_gb, allocated)),
            peak_reserved_gb=_highest((before.peak_reserved_gb, reserved)),
            energy_joules=None if used is None else (before.energy_joules or 0.0) + used,
        )

    close = read


def read_energy_joules(device: torch.device, devices: int = 1) -> float | None:
    """What the driver has counted since it was loaded, for the first `devices` visible devices;
    None where there is no driver, no counter or no nvidia-ml-py (an optional package)."""
    if device.type != "cuda":
        return None
    try:
        pynvml: Any = importlib.import_module("pynvml")
        pynvml.nvmlInit()
        names = (str(torch.cuda.get_device_properties(i).uuid) for i in _indices(device, devices))
        handles = [pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{name}") for name in names]
        return float(sum(map(pynvml.nvmlDeviceGetTotalEnergyConsumption, handles))) / 1000
    except Exception:  # a dozen kinds of "not supported"; a cost that is not told is None
        return None


def _indices(device: torch.device, devices: int) -> Iterable[int]:
    return range(devices) if devices > 1 else (device.index or 0,)


def peak_memory_gb(device: torch.device) -> tuple[float | None, float | None]:
    """Peak allocated and reserved device memory in GB (10^9 bytes) since the last reset."""
    if device.type != "cuda":
        return None, None
    allocated = torch.cuda.max_memory_allocated(device)
    return allocated / 1e9, torch.cuda.max_memory_reserved(device) / 1e9


def reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _highest(values: Iterable[float | None]) -> float | None:
    return max((v for v in values if v is not None), default=None)
