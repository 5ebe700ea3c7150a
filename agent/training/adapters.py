"""Adapters: how each `adapter_method` is made, and how one is kept on disk.

Adding a method is one entry in `BUILDERS` and one line in `agent.config.variants.ADAPTER_METHODS`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.config import PeftConfig
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from agent.config import variants
from agent.config.run_config import RunConfig
from agent.training import fused_lora
from agent.training.bases import linear_layers

WEIGHTS = "adapter_model.safetensors"
SETTINGS = "adapter_config.json"
Builder = Callable[[RunConfig], PeftConfig]


def _lora(config: RunConfig) -> PeftConfig:
    """LoRA on every linear layer but the output head (arXiv 2106.09685, 2305.14314)."""
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules="all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )


BUILDERS: dict[str, Builder] = {"lora": _lora}


def register(name: str, builder: Builder, description: str) -> None:
    """Add an adapter method; `name` then is a valid `adapter_method` everywhere."""
    BUILDERS[name] = builder
    variants.ADAPTER_METHODS[name] = description


def attach(model: PreTrainedModel, config: RunConfig) -> PeftModel:
    """Wrap `model` with a fresh adapter, drawn from `config.seed` alone.

    PEFT draws the initial weights from torch's global generator, so it is seeded here.
    """
    torch.manual_seed(config.seed)
    wrapped = get_peft_model(model, _aimed_at(model, BUILDERS[config.adapter_method](config)))
    assert isinstance(wrapped, PeftModel)
    fused_lora.fuse(wrapped)
    return wrapped


def _aimed_at(model: PreTrainedModel, settings: PeftConfig) -> PeftConfig:
    """The settings with what only the model shows: layers that read no text stay as they are, and
    the experts of a mixture, which are parameters and not layers, are adapted too."""
    if getattr(settings, "target_modules", None) != "all-linear":
        return settings  # a method that names its own targets
    aimed: Any = settings
    if outside := linear_layers.layers_outside(model):
        aimed.exclude_modules = outside
    layers = linear_layers.layers_of(model)
    if any(isinstance(layer, Conv1D) for layer in layers.values()):
        aimed.fan_in_fan_out = True  # GPT-2's layers hold their matrices the other way round
    if experts := linear_layers.expert_parameters(model):
        # PEFT reads these names as those of the experts of old and drops layers that have them too
        # (DeepSeek's shared experts); as parameters they are left in peace.
        misread = [name for name in layers if name.rpartition(".")[2] in _NAMES_OF_OLD_EXPERTS]
        aimed.target_modules = [name for name in layers if name not in misread]
        aimed.target_parameters = [*experts, *(f"{name}.weight" for name in misread)]
    return settings


_NAMES_OF_OLD_EXPERTS = ("gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The trainable tensors by parameter name: exactly what the optimizer changes."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def without_adapter(model: nn.Module) -> Any:
    """The transformers model inside PEFT's wrapper, or the model itself."""
    unwrap = getattr(model, "get_base_model", None)
    return unwrap() if unwrap else model


def save(model: PeftModel, directory: Path, base_model: str) -> None:
    """Write the adapter as a plain PEFT folder (safetensors) that names its base as the config
    does: PEFT itself would write where the base lies on this machine."""
    # Not PEFT's empty model card: its template took most of the time that the store takes.
    model.__dict__["create_or_update_model_card"] = lambda *_: None
    model.save_pretrained(str(directory), safe_serialization=True)
    settings = json.loads((directory / SETTINGS).read_text())
    settings["base_model_name_or_path"] = base_model
    (directory / SETTINGS).write_text(json.dumps(settings, indent=1))


def restore(model: PeftModel, directory: Path) -> None:
    """Put saved values into `model` in place, so that the optimizer keeps its hold on them."""
    saved = load_file(str(directory / WEIGHTS))
    own = weights(model)
    named = {name.replace(".default.", ".").replace(".default", ""): name for name in own}
    if set(named) != set(saved):
        raise KeyError(sorted(set(named) ^ set(saved)))
    with torch.no_grad():
        for name, value in saved.items():
            own[named[name]].copy_(value)
