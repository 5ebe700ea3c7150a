"""What a training costs: model FLOPs, seconds and peak memory.

FLOPs are counted on an unquantised twin on the meta device, since the counter sees nothing of
bitsandbytes' kernels: quantisation changes bytes and time, not the arithmetic of the model. The
count of one sequence of T tokens with A answer tokens is a*T + b*T*T + c*A exactly (linear layers,
attention over full length, output head), so three counts give it for all.
"""

import importlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from agent import files
from agent.config.run_config import RunConfig, digest
from agent.errors import first_line
from agent.training import adapters, answer_loss, base_model
from agent.training.bases import linear_layers
from agent.training.device_memory import peak_memory_gb, release, reset_peak_memory, synchronise
from agent.training.facts.cost_record import Cost, StepFlops

# Two lengths and two numbers of answer tokens determine the polynomial, a third one proves it.
_LENGTHS = (8, 16)
_ANSWERS = (1, 5)
_PROOF = (24, 3)


def measure_step_flops(config: RunConfig, path: Path) -> StepFlops:
    """Count one training step on the twin: frozen weights get no weight gradients, and gradient
    checkpointing recomputes the forward pass; both are in the count because both really happen."""
    (short, long), (few, many) = _LENGTHS, _ANSWERS
    try:
        plain = base_model.meta_twin(config, path)
        if linear_layers.expert_parameters(plain):
            return _left_out("which experts of a mixture a token goes through depends on the data")
        twin = adapters.attach(plain, config)
        if config.gradient_checkpointing:
            enable_checkpointing(twin)
        twin.train()
        of_short, of_long, of_many, proof = (
            count_flops(twin, length, answers)
            for length, answers in ((short, few), (long, few), (short, many), _PROOF)
        )
    except Exception as error:  # an architecture may do anything that has no shape alone
        return _left_out(f"the model cannot be followed without weights: {first_line(error)}")
    head = (of_many - of_short) / (many - few)
    bodies = (of_short - head * few) / short, (of_long - head * few) / long
    quadratic = (bodies[1] - bodies[0]) / (long - short)
    counted = StepFlops(bodies[0] - quadratic * short, quadratic, head)
    if not math.isclose(counted.of(1, *_PROOF), proof, rel_tol=1e-6):
        return _left_out("they do not follow the length of a sequence as those of a decoder do")
    return counted


def _left_out(reason: str) -> StepFlops:
    return StepFlops(math.nan, math.nan, math.nan, reason)


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
        "max_length_by_task",
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


def count_flops(
    model: torch.nn.Module, length: int, answer_tokens: int, *, backward: bool = True
) -> float:
    """FLOPs of one sequence of `length` tokens, of which the last `answer_tokens` carry loss,
    through a model on the meta device."""
    ids = torch.zeros(1, length, dtype=torch.long, device="meta")
    places = torch.arange(length - answer_tokens, length, device="meta")
    with FlopCounterMode(display=False) as counter:
        if backward:
            answer_loss.forward_backward(model, ids, places, ids[0].index_select(0, places), 1.0)
        else:
            mask = torch.ones_like(ids)
            model(
                input_ids=ids,
                attention_mask=mask,
                use_cache=False,
                logits_to_keep=answer_tokens,
            )
    return float(counter.get_total_flops())


class Meter:
    """Measures a stretch of training: its time, energy, and the highest memory seen in it."""

    def __init__(self, device: torch.device, devices: int = 1) -> None:
        self._device, self._devices = device, devices
        # Whatever a deployment before has left, in whichever cell: the peak is the training's own.
        release(device)
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
        share = 1 / before.agents_on_device
        return replace(
            before,
            train_seconds=before.train_seconds + elapsed,
            device_seconds=before.device_seconds + elapsed * self._devices * share,
            save_seconds=before.save_seconds + self._saving,
            peak_vram_gb=_highest((before.peak_vram_gb, allocated)),
            peak_reserved_gb=_highest((before.peak_reserved_gb, reserved)),
            energy_joules=None if used is None else (before.energy_joules or 0.0) + used * share,
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
    except Exception:  # a dozen kinds of "not supported"; an unknown cost is None
        return None


def _indices(device: torch.device, devices: int) -> Iterable[int]:
    return range(devices) if devices > 1 else (device.index or 0,)


def _highest(values: Iterable[float | None]) -> float | None:
    return max((v for v in values if v is not None), default=None)
