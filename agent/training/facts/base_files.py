"""The base model's files: where they lie and their digest; imports nothing heavy."""

import hashlib
import json
import os
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from agent.config.run_config import KEY_LENGTH, RunConfig, exists, is_path
from agent.errors import DataError, first_line

# What decides a model: weights, settings, tokenizer, template and the code that it brings.
_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py")
_PICKLED = "pytorch_model*.bin"  # weights where there are no safetensors


def locate(config: RunConfig) -> Path:
    """The base model's directory: the one named, or the Hugging Face snapshot (downloaded once)."""
    if is_path(config.base_model):
        path = Path(config.base_model).expanduser()
        if not (path / "config.json").is_file():
            raise DataError(f"base_model = {config.base_model!r}: {_why_no_model(path)}")
        return path
    from huggingface_hub import snapshot_download

    def download(*patterns: str) -> Path:
        return Path(
            snapshot_download(
                config.base_model, revision=config.base_revision, allow_patterns=list(patterns)
            )
        )

    try:
        path = download(*_FILES)
        return path if any(path.glob("*.safetensors")) else download(*_FILES, _PICKLED)
    except Exception as error:  # the hub client raises a dozen kinds for "not reachable"
        raise DataError(f"base_model = {config.base_model!r} {_why_not_here(error)}") from error


def _why_no_model(path: Path) -> str:
    """Why a path does not hold a checkpoint, in a sentence."""
    if not exists(str(path)):
        return "no such directory"
    if path.is_file():
        return "is a file; name the directory of the checkpoint, with its config.json"
    if (path / "adapter_config.json").is_file():
        named = ""
        with suppress(OSError, ValueError, AttributeError):
            found = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
            named = f" of {str(found.get('base_model_name_or_path'))[:200]!r}"
        return f"is an adapter{named}, not a model; name its base, or merge the two"
    if any(path.glob("*.gguf")):
        return "holds GGUF files, which are quantised for llama.cpp; name the 16-bit checkpoint"
    return "holds no config.json"


def _why_not_here(error: Exception) -> str:
    """Why a model of the hub is not here, in a sentence."""
    causes = (error, error.__cause__, error.__context__)
    names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    if "GatedRepoError" in names:
        return (
            "is gated: accept its licence on its page at huggingface.co and give a token of that "
            "account (`hf auth login`, or HF_TOKEN)"
        )
    if "RepositoryNotFoundError" in names:
        return (
            "is not on the hub under this name, or is private: check the name, and give a token "
            "that may read it (`hf auth login`, or HF_TOKEN)"
        )
    if "RevisionNotFoundError" in names:
        return "has no such base_revision on the hub; check its name"
    return (
        "is not in the Hugging Face cache and cannot be "
        f"downloaded: {first_line(error)}; give a directory, or download it where there is internet"
    )


def digest_of(path: Path, cache: Path) -> str:
    """Digest of a model directory's contents, computed once per file state.

    `cache` is a directory that remembers digests under each file's name, size and time.
    """
    total = hashlib.sha256()
    patterns = _FILES if any(path.glob("*.safetensors")) else (*_FILES, _PICKLED)
    for pattern in sorted(patterns):
        for file in sorted(path.glob(pattern)):
            total.update(f"{file.name} {_file_digest(file.resolve(), cache)}\n".encode())
    return total.hexdigest()[:KEY_LENGTH]


def _file_digest(file: Path, cache: Path) -> str:
    state = file.stat()
    name = hashlib.sha256(f"{file} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:32]
    remembered = cache / f"{name}.sha256"
    if remembered.is_file() and len(text := remembered.read_text()) == 64:
        return text
    with file.open("rb") as stream:
        text = hashlib.file_digest(stream, "sha256").hexdigest()
    cache.mkdir(parents=True, exist_ok=True)
    temporary = cache / f".{name}.{os.getpid()}"
    temporary.write_text(text)
    temporary.replace(remembered)
    return text


def library_versions() -> dict[str, str]:
    """The libraries whose release can change an adapter; part of every training key."""
    names = ("torch", "transformers", "peft", "bitsandbytes")
    return {name: version(name).split("+")[0] for name in names}
