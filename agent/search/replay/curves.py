"""Finished full curves with per-example scores: what pruners are replayed on.

The file is JSON, gzipped when its name ends in .gz:

    {"schema": "sweep-agent/curves-1",
     "made_by": "the command that made it",
     "strata": [
       {"name": "QLoRA int4 seed=0",
        "curves": [
          {"point": {"learning_rate": 0.001},
           "training": "9f…",
           "scores": [[0.5, 1.0, …], …]}]}]}

- a *stratum* holds the curves that may be compared: all of them over the same rungs and examples;
- `point` holds the tuned values;
- `training` names the training behind the curve, so that curves of several strata that share one
  (a 16-bit training served at 16 and at 4 bit) are counted once; left out, nothing is shared;
- `scores[r][e]` is the score of example e at rung r + 1, higher is better.
"""

import gzip
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from agent.config.values import point_text
from agent.errors import DataError
from agent.search.example_scores import ExampleScores

SCHEMA = "sweep-agent/curves-1"
NOISE_LEVEL = 0.05  # two runs whose paired 95 % interval holds 0 are equal within noise


@dataclass(frozen=True, eq=False)
class Curve:
    """One grid point, trained to the end."""

    point: str  # the tuned values in one line
    training: str
    values: npt.NDArray[np.float64]  # shape (rungs, examples)

    @cached_property
    def scores(self) -> tuple[ExampleScores, ...]:
        return tuple(ExampleScores("same", row) for row in self.values)

    @cached_property
    def means(self) -> tuple[float, ...]:
        return tuple(scores.mean for scores in self.scores)

    @property
    def final(self) -> float:
        return self.means[-1]


@dataclass(frozen=True, eq=False)
class Stratum:
    """Curves that compete: the same rungs, the same examples."""

    name: str
    curves: tuple[Curve, ...]

    @property
    def rungs(self) -> int:
        return len(self.curves[0].values)

    @cached_property
    def winner(self) -> int:
        """Index of the run that the full grid would choose."""
        keys = [(-curve.final, curve.point) for curve in self.curves]
        return keys.index(min(keys))

    def regret(self, chosen: int) -> float:
        """How much lower the chosen run ends than the full grid's winner, ≥ 0."""
        return self.curves[self.winner].final - self.curves[chosen].final

    def is_within_noise(self, chosen: int) -> bool:
        """Whether the paired 95 % interval of the difference to the winner holds 0."""
        gaps = self.curves[self.winner].values[-1] - self.curves[chosen].values[-1]
        error = float(gaps.std(ddof=1)) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.inf
        if error == 0.0:
            return not gaps.any()
        return bool(2 * stdtr(len(gaps) - 1, -abs(gaps.mean()) / error) >= NOISE_LEVEL)


def load(path: Path) -> list[Stratum]:
    """The strata of a curves file. DataError that names every fault of it."""
    try:
        raw = path.read_bytes()
        text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        content = json.loads(text)
    except OSError as error:
        raise DataError(f"curves {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:
        raise DataError(f"curves {path} is not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise DataError(f"curves {path}: its schema must be {SCHEMA!r}")
    return parse(content.get("strata") or [], where=f"curves {path}")


def parse(items: Sequence[Any], *, where: str) -> list[Stratum]:
    """The strata of the file's form. DataError says which one is wrong and how."""
    if not items:
        raise DataError(f"{where}: holds no stratum")
    return [_stratum(item, f"{where}, stratum {number}") for number, item in enumerate(items, 1)]


def _stratum(item: Any, where: str) -> Stratum:
    try:
        name = str(item["name"])
        curves = tuple(_curve(entry, name) for entry in item["curves"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where}: {type(error).__name__}: {error}") from None
    shapes = {curve.values.shape for curve in curves}
    if not curves:
        raise DataError(f"{where} ({name}) has no curve")
    if len(shapes) > 1 or len(shape := next(iter(shapes))) != 2 or 0 in shape:
        raise DataError(
            f"{where} ({name}): curves need the same rungs and examples, found {shapes}"
        )
    if not all(np.isfinite(curve.values).all() for curve in curves):
        raise DataError(f"{where} ({name}): a score is not a number")
    if len({curve.point for curve in curves}) < len(curves):
        raise DataError(f"{where} ({name}): a grid point is given twice")
    return Stratum(name, curves)


def _curve(entry: Any, stratum: str) -> Curve:
    point = point_text(entry["point"])
    return Curve(
        point,
        str(entry.get("training") or f"{stratum} {point}"),
        np.array(entry["scores"], dtype=np.float64),
    )


def save(path: Path, strata: Iterable[Mapping[str, object]], made_by: str) -> None:
    """Write strata in the form of the file, atomically; the same content gives the same bytes."""
    content = {"schema": SCHEMA, "made_by": made_by, "strata": list(strata)}
    data = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    if path.name.endswith(".gz"):
        data = gzip.compress(data, 9, mtime=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
