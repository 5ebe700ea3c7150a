"""What a tokenizer makes of the data, found once for all runs of the same base and examples.

The plan of a training is made from the lengths of its sequences, and its key holds the digest of
its prompts; a run that finds its points in the store reads both here and needs no tokenizer.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent import files
from agent.config.run_config import RunConfig, digest
from agent.training.prompts import PROMPT_FORMAT, TrainingSequence

FOLDER = "tokenizer_facts"


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of each sequence that is trained on, in order, and how many were too long for it."""

    lengths: tuple[int, ...]
    too_long: int


def counts(
    config: RunConfig,
    environment: Mapping[str, object],
    store: Path,
    encode: Callable[[], tuple[Sequence[TrainingSequence], int]],
) -> TokenCounts:
    """What `encode` gives, in numbers. `environment` is that of the training."""
    lengths = (config.max_length, config.max_length_by_task)
    depends = {"data": environment["data"], "max_length": lengths}
    file = _file(store, str(environment["base"]), depends)
    if (known := _read(file)) is not None:
        return TokenCounts(tuple(map(int, known["lengths"])), int(known["too_long"]))
    sequences, too_long = encode()
    counted = TokenCounts(tuple(len(s.input_ids) for s in sequences), too_long)
    _write(file, asdict(counted))
    return counted


def prompts_digest(base_digest: str, data_digest: str, store: Path, make: Callable[[], str]) -> str:
    """What `make` gives for the prompts of the data with this digest."""
    file = _file(store, base_digest, {"prompts_of": data_digest})
    if (known := _read(file)) is not None:
        return str(known["prompts"])
    made = make()
    _write(file, {"prompts": made})
    return made


def _file(store: Path, base_digest: str, depends: Mapping[str, object]) -> Path:
    releases = [version(name) for name in ("transformers", "tokenizers")]
    name = digest({"base": base_digest, "format": PROMPT_FORMAT, "by": releases, **depends})
    return store / FOLDER / f"{name}.json"


def _read(file: Path) -> dict[str, Any] | None:
    """None when it has not been written yet, or is damaged."""
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    is_whole = isinstance(known, dict) and (
        "prompts" in known or {"lengths", "too_long"} <= set(known)
    )
    return known if is_whole else None


def _write(file: Path, content: Mapping[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(file, dict(content))
