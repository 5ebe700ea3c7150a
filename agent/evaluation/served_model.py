"""The deployed form of a finished run, alone in its process: what the benchmark measures."""

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from agent.config.run_config import RunConfig
from agent.errors import DataError, StoreError
from agent.evaluation import deployments
from agent.evaluation.query_flops import QueryFlops, shape_of
from agent.training import base_model, device_memory, store
from agent.training.data_formats import Example
from agent.training.facts import base_files


@dataclass(frozen=True)
class ServedModel:
    """A deployment and what is known of it before any query."""

    model: nn.Module
    tokenizer: Any
    device: torch.device
    flops: QueryFlops
    model_size_gb: float
    load_time_s: float  # from reading the base's weights to the finished deployment


def find_adapter(root: Path, key: str, step: int, digest: str | None = None) -> Path | None:
    """The adapter of the evaluation point at `step` in the store, every file checked against its
    manifest; None when it is not (or no longer whole) there, or another one than `digest`."""
    for point in store.TrainingDirectory(root, key).chain():
        if point.step == step and digest in (None, point.digest):
            return point.adapter
    return None


def find_adapter_at(root: Path, key: str, epoch: float) -> Path:
    """The adapter of the evaluation point at `epoch` in the store.

    StoreError that names the epochs there are: an artifact holds the last point only.
    """
    points = {float(p.record["epoch"]): p for p in store.TrainingDirectory(root, key).chain()}
    for at, point in points.items():
        if math.isclose(at, epoch, abs_tol=1e-6):
            return point.adapter
    known = ", ".join(f"{at:g}" for at in points) or "none"
    raise StoreError(
        f"the store {root} holds no evaluation point of training {key} at epoch {epoch:g} "
        f"(it has: {known}); an earlier point is in no artifact"
    )


def locate_base(config: RunConfig, wanted: str, cache: Path) -> Path:
    """The base model's directory. DataError when its digest is not the one trained on."""
    path = base_files.locate(config)
    found = base_files.digest_of(path, cache)
    if wanted and found != wanted:
        raise DataError(
            f"base_model = {config.base_model!r} has digest {found}, but the run was trained on "
            f"{wanted}; put that revision in place"
        )
    return path


def serve(
    config: RunConfig,
    base_path: Path,
    locate_adapter: Callable[[], Path | None],
    calibration: Sequence[Example] = (),
) -> ServedModel:
    """Load the base, build the config's deployment and let go of all that it does not need.

    Without an adapter, what is served is the untouched base in the deployment's form.
    A merged deployment has weights of its own; the base it was made from is freed, so that the
    memory measured afterwards is that of the deployment alone.
    """
    device = base_model.choose_device(config)
    adapter = locate_adapter()
    started = time.perf_counter()
    loaded = base_model.load(config, base_path, config.variant.training_precision, device)
    model = deployments.deploy(loaded, adapter, config.variant, calibration)
    tokenizer = loaded.tokenizer
    del loaded
    gc.collect()
    device_memory.synchronise(device)
    load_time_s = time.perf_counter() - started
    if device.type == "cuda":
        torch.cuda.empty_cache()
    size_gb = deployments.model_size_gb(model)
    shape = shape_of(config, base_path, has_adapter=adapter is not None)
    return ServedModel(model, tokenizer, device, shape, size_gb, load_time_s)
