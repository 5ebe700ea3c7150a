"""Optimizer and random generators, and their state as tensors that a checkpoint can hold."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from agent.config.run_config import RunConfig

_NESTED = "/"  # between the names of nested state


def make_optimizer(config: RunConfig, weights: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
    """AdamW as the config sets it; its learning rate is set anew for every step."""
    arguments: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw_8bit":
        from bitsandbytes.optim import adamw

        eight_bit: torch.optim.Optimizer = adamw.AdamW8bit(list(weights), **arguments)
        return eight_bit
    # `fused=False` would also turn off foreach, torch's own choice on a GPU.
    fused = True if config.optimizer == "adamw_fused" else None
    return torch.optim.AdamW(list(weights), fused=fused, **arguments)


def optimizer_state(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Tensors and plain numbers of an optimizer by name. Bitsandbytes nests its 8-bit state."""
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, float] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for inner, part in value.items():
                add(f"{name}{_NESTED}{inner}", part)
        elif isinstance(value, torch.Tensor):
            tensors[name] = value.contiguous()
        else:
            scalars[name] = value

    for index, entry in optimizer.state_dict()["state"].items():
        for name, value in entry.items():
            add(f"optimizer.{index}.{name}", value)
    # The quantisation maps are one tensor for all parameters, and a file holds no tensor twice.
    return {name: value.clone() for name, value in tensors.items()}, scalars


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, torch.Tensor],
    scalars: Mapping[str, float],
) -> None:
    """Put saved state back. `tensors` lie on the CPU: the optimizer moves what belongs beside the
    weights, and leaves `step` where reading it costs no synchronisation."""
    entries: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *scalars.items()]:
        if key.startswith("optimizer."):
            _, index, path = key.split(".", 2)
            *outer, name = path.split(_NESTED)
            entry = entries.setdefault(int(index), {})
            for part in outer:
                entry = entry.setdefault(part, {})
            entry[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
