"""Why a training was not found although a similar one is in the store."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

# Other values of these are other grid points, not surprises.
EXPECTED = ("learning_rate", "seed", "training_precision")
MOST_DIFFERENCES = 3

_NAMES = {
    "base": "contents of base_model",
    "data": "training data",
    "device": "device type",
    "world_size": "GPUs",
}


def read_identities(store: Path, *, besides: str) -> Iterator[Mapping[str, object]]:
    """The identities of all trainings in a store but the one with key `besides`."""
    for file in sorted(store.glob("*/identity.json")):
        try:
            identity = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
        if file.parent.name != besides and isinstance(identity, dict):
            yield identity


def explain(
    identity: Mapping[str, object],
    others: Iterable[Mapping[str, object]],
    expected: Collection[str] = EXPECTED,
) -> str | None:
    """What distinguishes the nearest of `others` from `identity`: "max_length 1024 → 2048".

    None when nothing is near, or when only `expected` fields differ.
    """
    wanted = _flat(identity)
    nearest: list[str] | None = None
    for other in others:
        have = _flat(other)
        names = [n for n in sorted({*wanted, *have}) if wanted.get(n) != have.get(n)]
        if any(name in expected for name in names) or not 0 < len(names) <= MOST_DIFFERENCES:
            continue
        if nearest is None or len(names) < len(nearest):
            nearest = [f"{_NAMES.get(n, n)} {have.get(n)} → {wanted.get(n)}" for n in names]
    return ", ".join(nearest) if nearest else None


def _flat(identity: Mapping[str, object]) -> dict[str, object]:
    """One level: the libraries stand beside the other values."""
    flat = dict(identity)
    libraries = flat.pop("libraries", {})
    return {**flat, **libraries} if isinstance(libraries, Mapping) else flat
