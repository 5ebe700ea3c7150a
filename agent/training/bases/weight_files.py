"""What the files of a checkpoint hold, read without the model: names, types and values.

Only a file's header is read for the names and types; whole tensors, one at a time, for the values.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from agent.errors import DataError, first_line

# In the order in which transformers looks for them; an index names the shards.
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_REAL = ("F16", "BF16", "F32", "F64")
_NAME_OF = {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}
# Masks and positions that older checkpoints keep beside their weights; no parameters.
_BUFFERS = ("position_ids", "masked_bias", "attention_mask", "causal_mask", "attn_mask", "mask")
_AT_ONCE = 2**26  # values looked at in one go


def files_of(path: Path) -> list[Path]:
    """The files that the model is loaded from. DataError when there are none, or one is missing."""
    name = next((name for name in _WEIGHTS if (path / name).is_file()), None)
    if name is None:
        raise DataError(f"base_model = {str(path)!r}: {_why_no_weights(path)}")
    if not name.endswith(".json"):
        return [path / name]
    try:
        shards = set(json.loads((path / name).read_text(encoding="utf-8"))["weight_map"].values())
        found = [path / shard for shard in sorted(shards)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(f"{path / name}: is not a list of shards; download it again") from None
    if missing := [file.name for file in found if not file.is_file()]:
        raise DataError(
            f"base_model = {str(path)!r}: {', '.join(missing[:3])} of {len(found)} shards "
            f"{'is' if len(missing) == 1 else 'are'} not there; download the rest"
        )
    return found


def _why_no_weights(path: Path) -> str:
    if any(path.glob("*.gguf")):
        return (
            "holds GGUF files, which are quantised for llama.cpp; every cell starts from 16-bit "
            "weights: name the unquantised checkpoint"
        )
    others = sorted(p.name for p in path.glob("*") if p.suffix in (".safetensors", ".bin", ".pt"))
    has = f"; {', '.join(others[:5])} cannot be loaded alone" if others else ""
    return f"holds no weights (model.safetensors, or shards with their index){has}"


def check(path: Path) -> None:
    """DataError when a file is damaged, or a weight is stored as anything but real numbers: codes
    of 4 or 8 bits would be taken for the weights themselves."""
    for file in files_of(path):
        for name, (kind, shape) in types_in(file).items():
            if kind not in _REAL and shape and not _is_buffer(name, shape):
                raise quantised(path, f"{name} holds {kind} values")


def quantised(path: Path, how: str) -> DataError:
    return DataError(
        f"base_model = {str(path)!r}: is stored quantised ({how}); every cell starts from 16-bit "
        "weights and quantises them itself: name the unquantised checkpoint"
    )


def _is_buffer(name: str, shape: tuple[int, ...]) -> bool:
    last = name.rpartition(".")[2]
    return last in _BUFFERS or (last == "bias" and len(shape) > 2)  # GPT's causal masks


def types_in(file: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every tensor of a file by name."""
    if file.suffix == ".safetensors":
        header = _header_of(file)
        return {name: (str(t["dtype"]), tuple(t["shape"])) for name, t in header.items()}
    return {
        name: (_NAME_OF.get(t.dtype, str(t.dtype).removeprefix("torch.")), tuple(t.shape))
        for name, t in _pickled(file, "meta").items()
    }


def _header_of(file: Path) -> dict[str, Any]:
    """The tensors that a safetensors file announces. DataError when it is cut or no such file."""
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(size, file.stat().st_size)))
        tensors = {name: value for name, value in header.items() if name != "__metadata__"}
        ends = [_end_of(value) for value in tensors.values()]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise DataError(f"{file}: is not a whole safetensors file; download it again") from None
    end = max(ends, default=0)
    if file.stat().st_size != 8 + size + end:
        raise DataError(f"{file}: is cut off or has grown; download it again")
    return tensors


def _end_of(tensor: Mapping[str, Any]) -> int:
    """Where a tensor ends. ValueError for a header that does not describe one."""
    begin, end = tensor["data_offsets"]
    numbers = [begin, end, *tensor["shape"]]
    if not isinstance(tensor["dtype"], str) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError("no tensor")
    return int(end)


def _pickled(file: Path, device: str) -> dict[str, torch.Tensor]:
    """The tensors of a file that torch.save wrote. DataError when it holds anything else."""
    found: Any = None
    fault = ""
    for mapped in (True, False):  # files of the old format cannot be mapped
        try:
            found = torch.load(str(file), map_location=device, weights_only=True, mmap=mapped)
            break
        except Exception as error:  # unpickling raises what it likes
            fault = first_line(error)
    if not isinstance(found, Mapping):
        reason = "it holds no tensors by name" if found is not None else fault[:120]
        raise DataError(
            f"{file}: cannot be read as weights ({reason}); download it again, or take a "
            "checkpoint in safetensors, which cannot hold anything but tensors"
        )
    return {str(n): t for n, t in found.items() if isinstance(t, torch.Tensor)}


# ---------------------------------------------------------------------- values
def check_values(path: Path) -> None:
    """DataError when a weight is not a number, or a whole matrix is zero, as a file is whose end
    was never written."""
    for file in files_of(path):
        for name, tensor in _tensors_of(file):
            if not tensor.is_floating_point():
                continue
            pieces = tensor.flatten().split(_AT_ONCE)
            if not all(bool(torch.isfinite(piece).all()) for piece in pieces):
                raise DataError(
                    f"{file}: {name} holds values that are not finite numbers; every loss would be "
                    "NaN: download the checkpoint again, or take another one"
                )
            if _must_say_something(name, tensor) and not any(bool(p.any()) for p in pieces):
                raise DataError(
                    f"{file}: {name} holds only zeros; was the file written to its end? Download "
                    "it again"
                )


def _tensors_of(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    if file.suffix != ".safetensors":
        yield from _pickled(file, "cpu").items()
        return
    opened: Any = safe_open(str(file), framework="pt")
    with opened as stored:
        for name in stored.keys():  # noqa: SIM118 (no mapping)
            yield name, stored.get_tensor(name)


def _must_say_something(name: str, tensor: torch.Tensor) -> bool:
    is_matrix = tensor.ndim == 2 and min(tensor.shape) > 1
    return is_matrix and name.endswith("proj.weight")
