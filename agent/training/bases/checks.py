"""Whether a base model is what a cell takes it for; anything else is refused in a sentence.

A checkpoint that is stored quantised, that lacks a tensor or brings one too many would load
silently and train on other weights than its name says.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.config.run_config import RunConfig
from agent.errors import DataError
from agent.training.bases import linear_layers

LEAST_QUANTISED = 0.9  # of the weights in the decoder's layers, where a cell says int8 or int4
_SHOWN = 3  # tensors named in a message
_ONE_BYTE = ("I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "I32")


def check_folder(path: Path) -> None:
    """DataError when the folder's weights are quantised, damaged or an adapter's."""
    settings = read_settings(path)
    if (path / "adapter_config.json").is_file():
        raise DataError(
            f"base_model = {str(path)!r}: holds an adapter beside the model, which would be put on "
            "it silently; merge it, or move adapter_config.json elsewhere"
        )
    if method := quantisation_of(settings):
        raise _quantised(path, method)
    for file in sorted(path.glob("*.safetensors")):
        for name, tensor in _header_of(file).items():
            if tensor.get("dtype") in _ONE_BYTE and len(tensor.get("shape", ())) > 1:
                raise _quantised(path, f"{name} holds {tensor['dtype']} values")


def read_settings(path: Path) -> dict[str, Any]:
    """`config.json` of a checkpoint. DataError when it is not a JSON object."""
    try:
        settings = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path / 'config.json'}: cannot be read: {error}") from None
    if not isinstance(settings, dict):
        raise DataError(f"{path / 'config.json'}: is not a JSON object")
    return settings


def quantisation_of(settings: Mapping[str, Any]) -> str | None:
    """How a checkpoint says its weights are quantised; None for plain weights."""
    parts = [settings, *(v for v in settings.values() if isinstance(v, Mapping))]
    for part in parts:
        for name in ("quantization_config", "compression_config"):
            if isinstance(found := part.get(name), Mapping):
                bits = [word for word in ("4bit", "8bit") if found.get(f"load_in_{word}")]
                method = str(found.get("quant_method") or "an unnamed method")
                return " ".join([method, *bits])
    return None


def _quantised(path: Path, how: str) -> DataError:
    return DataError(
        f"base_model = {str(path)!r}: is stored quantised ({how}); every cell starts from 16-bit "
        "weights and quantises them itself: name the unquantised checkpoint"
    )


def _header_of(file: Path) -> dict[str, dict[str, Any]]:
    """The tensors that a safetensors file announces. DataError when it is cut or no such file."""
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(size, file.stat().st_size)))
        tensors = {name: value for name, value in header.items() if name != "__metadata__"}
        end = max((value["data_offsets"][1] for value in tensors.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(f"{file}: is not a whole safetensors file; download it again") from None
    if file.stat().st_size != 8 + size + end:
        raise DataError(f"{file}: is cut off or has grown; download it again")
    return tensors


def check_positions(config: RunConfig, settings: Any) -> None:
    """DataError when a length limit is beyond the positions that the model was made for."""
    positions = getattr(settings.get_text_config(), "max_position_embeddings", None)
    longest = config.longest_length
    if isinstance(positions, int) and 0 < positions < longest:
        raise DataError(
            f"max_length = {longest} is beyond the {positions} positions of base_model = "
            f"{config.base_model!r}; lower it to {positions} or take another base"
        )


def check_loaded(path: Path, info: Mapping[str, Any]) -> None:
    """DataError when tensors are missing, are too many or have another shape than the model's."""
    faults = []
    for kind, what in (
        ("missing_keys", "are missing (they would be random, others at each load)"),
        ("mismatched_keys", "have another shape than the model"),
        ("unexpected_keys", "belong to no part of the model"),
    ):
        if names := sorted(map(_tensor_name, info.get(kind) or ())):
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            faults.append(f"{', '.join(names[:_SHOWN])}{more} {what}")
    faults += [str(line).splitlines()[0] for line in info.get("error_msgs") or () if str(line)]
    if faults:
        raise DataError(
            f"base_model = {str(path)!r}: its tensors are not those of its config.json: "
            f"{'; '.join(faults)}; use a whole checkpoint of one model"
        )


def _tensor_name(key: Any) -> str:
    return str(key[0]) if isinstance(key, list | tuple) else str(key)


def check_cell(config: RunConfig, model: Any) -> None:
    """DataError when the loaded model cannot be what the cell says: weights that stay in 16 bit
    under int4 or int8, or an adapter that a mixture of experts cannot have."""
    experts = linear_layers.expert_parameters(model)
    share = linear_layers.share_quantised(model)
    if config.variant.training_precision == "16bit":
        share = linear_layers.share_quantisable(model)
    if config.variant.quantization_method != "none" and share < LEAST_QUANTISED:
        why = f"; its experts ({experts[0]}, …) are not linear layers" if experts else ""
        raise DataError(
            f"base_model = {config.base_model!r}: {config.model_variant} with "
            f"{config.quantization_strategy} would hold only {share:.0%} of its weights in "
            f"{config.quantization_strategy}{why}; use Full LoRA with None, or another base"
        )
    if experts and config.lora_dropout:
        raise DataError(
            f"lora_dropout = {config.lora_dropout:g}: adapters of experts ({experts[0]}, …) have "
            "no dropout; set it to 0 for a mixture of experts"
        )


def check_token_rows(path: Path, model: Any, tokenizer: Any) -> str | None:
    """Give the tokenizer another padding token where its own has no row in the embedding.

    Returns what was changed. DataError when the end token has none.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer.eos_token_id >= rows:
        raise DataError(
            f"{path}: the end token {tokenizer.eos_token!r} has id {tokenizer.eos_token_id}, but "
            f"the embedding has {rows} rows; the tokenizer is another model's"
        )
    if tokenizer.pad_token_id < rows:
        return None
    was = f"{tokenizer.pad_token!r} (id {tokenizer.pad_token_id} of {rows} rows)"
    tokenizer.pad_token = tokenizer.eos_token
    return f"padding token {was} has no embedding: {tokenizer.eos_token!r} pads instead"
