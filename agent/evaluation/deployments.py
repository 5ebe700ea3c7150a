"""Deployments: how an adapter of the store is served.

A deployment is built beside the frozen base and never inside the training model, because merging
and unmerging in place changes weights. Modules that stay as they are (embeddings, norms, and
linear layers that keep their precision) are shared by reference; merged or quantised ones are made
one at a time, so no second full-precision model is ever needed.

Adding a deployment is one entry in `BUILDERS` and a row in `agent.config.variants.VARIANTS`;
`register` does both.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from agent.config import variants
from agent.config.variants import Variant
from agent.errors import ModelTooLarge
from agent.training import device_memory
from agent.training.base_model import Base, keep_four_bit_layout, quantization_config
from agent.training.bases.linear_layers import QUANTISERS, Quantiser, quantise_plain
from agent.training.data_formats import Example

# Base, adapter folder, variant, and training examples for methods that calibrate.
Builder = Callable[[Base, Path, Variant, Sequence[Example]], nn.Module]


def deploy(
    base: Base, adapter: Path | None, variant: Variant, calibration: Sequence[Example] = ()
) -> nn.Module:
    """The served form of `adapter` (a PEFT folder) on `base`, in eval mode on the base's device.

    Without an adapter: the untouched base in the same form. `base` is left unchanged, whether or
    not a training is wrapped around it. ModelTooLarge when the memory does not hold both.
    """
    model = device_memory.attempt(lambda: _build(base, adapter, variant, calibration))
    if not isinstance(model, device_memory.Shortage):
        return model
    device_memory.release(base.device)
    raise ModelTooLarge(
        f"{variant.deployment} does not fit into the memory of {base.device} beside the model it "
        f"is made from: {model.reason}; take a larger GPU, or a smaller batch_size"
    )


def _build(
    base: Base, adapter: Path | None, variant: Variant, calibration: Sequence[Example]
) -> nn.Module:
    if adapter:
        model = BUILDERS[variant.deployment](base, adapter, variant, calibration)
    else:
        model = skeleton(base)
    if adapter is None and variant.deployment == "merged_then_quantised":
        quantise_plain(model, QUANTISERS[variant.quantization_method])
    model.requires_grad_(False)
    keep_four_bit_layout(model)
    device_memory.break_cycles(model)
    return model.eval()


# ---------------------------------------------------------------------- the three forms
def _quantised_base_with_adapter(
    base: Base, adapter: Path, _variant: Variant, _calibration: Sequence[Example]
) -> nn.Module:
    """Adapter beside the base: merging into 4-bit weights would lose accuracy."""
    return _with_adapter(base, adapter)


def _merged(
    base: Base, adapter: Path, _variant: Variant, _calibration: Sequence[Example]
) -> nn.Module:
    return _merge_modules(_with_adapter(base, adapter), lambda linear: linear)


def _merged_then_quantised(
    base: Base, adapter: Path, variant: Variant, _calibration: Sequence[Example]
) -> nn.Module:
    quantise = QUANTISERS[variant.quantization_method]
    model = _merge_modules(_with_adapter(base, adapter), quantise)
    quantise_plain(model, quantise)  # linear layers the adapter did not touch
    return model


BUILDERS: dict[str, Builder] = {
    "merged": _merged,
    "quantised_base_with_adapter": _quantised_base_with_adapter,
    "merged_then_quantised": _merged_then_quantised,
}


def register(row: Variant, builder: Builder) -> None:
    """Add a way to serve an adapter: `row.deployment` names it, the row makes it a valid cell."""
    BUILDERS[row.deployment] = builder
    variants.VARIANTS = (*variants.VARIANTS, row)


_QUANTISATION_MARKS = (
    "is_loaded_in_8bit",
    "is_loaded_in_4bit",
    "is_quantized",
    "quantization_method",
    "hf_quantizer",
)


def skeleton(base: Base) -> PreTrainedModel:
    """A second model object around the base's own modules: no weight is copied."""
    with torch.device("meta"):
        twin: PreTrainedModel = type(base.model)(copy.deepcopy(base.model.config))
    for name, module in base.modules.items():
        if name and not any(True for _ in _children_of(base, name)):
            twin.set_submodule(name, module)
        else:
            target = twin.get_submodule(name)
            target._parameters.update(module._parameters)
            target._buffers.update(module._buffers)
    for name in _QUANTISATION_MARKS:  # PEFT chooses its layer class by them
        if hasattr(base.model, name):
            setattr(twin, name, getattr(base.model, name))
    twin.generation_config = copy.deepcopy(base.model.generation_config)
    return twin


def _children_of(base: Base, name: str) -> Iterator[str]:
    return (other for other in base.modules if other.startswith(f"{name}."))


def _with_adapter(base: Base, adapter: Path) -> PeftModel:
    return PeftModel.from_pretrained(skeleton(base), str(adapter), is_trainable=False)


def _merge_modules(model: PeftModel, finish: Quantiser) -> nn.Module:
    """Merge each adapted layer into a copy of its base layer, `finish` it, and put it in place.

    Adapters of several parameters of one module (experts) are nested around it: all of them go
    into one copy. In fp32: the "safe" merge rounds the update to the base dtype first.
    """
    plain: Any = model.get_base_model()
    for name, layer in _outermost_adapters(plain):
        own: Any = copy.deepcopy(layer.get_base_layer())
        wrappers = [m for m in layer.modules() if isinstance(m, BaseTunerLayer)]
        for wrapper in cast(list[Any], wrappers):
            wrapper.base_layer = own
            wrapper.merge()
        plain.set_submodule(name, finish(own) if isinstance(own, nn.Linear | Conv1D) else own)
    return cast(nn.Module, plain)


def _outermost_adapters(model: nn.Module) -> list[tuple[str, Any]]:
    """Adapted layers by name, without those that lie inside another one."""
    found: list[tuple[str, Any]] = []
    for name, layer in model.named_modules():
        is_nested = any(name.startswith(f"{outer}.") for outer, _ in found[-1:])
        if isinstance(layer, BaseTunerLayer) and not is_nested:
            found.append((name, layer))
    return found


# ---------------------------------------------------------------------- what it weighs
def model_size_gb(model: nn.Module) -> float:
    """Weights as served, in GB (10^9 bytes): parameters, buffers and quantisation state, each
    tensor once (tied weights are one tensor)."""
    seen: dict[int, int] = {}
    for tensor in _tensors_of(model):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(seen.values()) / 1e9


def _tensors_of(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()
    for module in model.modules():
        weight = getattr(module, "weight", None)
        yield from _quantisation_state(getattr(weight, "quant_state", None))
        for owner in (weight, getattr(module, "state", None)):
            for name in ("CB", "SCB"):
                if isinstance(value := getattr(owner, name, None), torch.Tensor):
                    yield value


def _quantisation_state(state: Any) -> Iterator[torch.Tensor]:
    """Tensors of a bitsandbytes QuantState; double quantisation nests one in another."""
    if state is None:
        return
    for name in ("absmax", "code", "offset"):
        if isinstance(value := getattr(state, name, None), torch.Tensor):
            yield value
    yield from _quantisation_state(getattr(state, "state2", None))


def save(model: nn.Module, base: Base, variant: Variant, directory: Path) -> None:
    """Write the deployed form: a folder that transformers loads (quantised or merged), or, where
    base and adapter stay apart, the PEFT folder (the quantised base is made when it is loaded)."""
    if isinstance(model, PeftModel):
        model.save_pretrained(str(directory), safe_serialization=True)
    else:
        method = variant.quantization_method
        precision: Any = "16bit" if method == "none" else method
        settings = quantization_config(precision, base.dtype)
        assert isinstance(model, PreTrainedModel)
        if settings is not None:
            model.config.quantization_config = settings
        model.save_pretrained(str(directory))
    base.tokenizer.save_pretrained(str(directory))
