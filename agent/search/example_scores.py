"""Per-example scores of one evaluation point, and their compact text form.

Runs are compared in pairs, example by example, so the scores travel with the trial: about one
kilobyte for 200 examples.
"""

import base64
import binascii
import hashlib
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from agent.errors import StudyError

Array = npt.NDArray[np.float64]

HISTORY_KEY = "validation/example_scores"  # `encode()` of each evaluation point, on the run
DIGEST_LENGTH = 12  # hexadecimal digits that tell one set of examples from another


@dataclass(frozen=True, eq=False)
class ExampleScores:
    """Scores in the order of the sorted example ids; two can be paired when `examples` agree."""

    examples: str  # digest of the sorted example ids
    values: Array  # shape (examples,)

    @classmethod
    def of(cls, scores: Mapping[str, float]) -> "ExampleScores":
        """From example id → score. StudyError when there are none, or one is not a number."""
        if not scores:
            raise StudyError(
                "no example scores were reported; an evaluation point needs at least 1"
            )
        names = sorted(scores)
        values = np.array([float(scores[name]) for name in names])
        if not np.isfinite(values).all():
            name = names[int(np.argmin(np.isfinite(values)))]
            raise StudyError(f"the score of example {name!r} is {scores[name]}, not a number")
        text = "\x00".join(names).encode()
        return cls(hashlib.sha256(text).hexdigest()[:DIGEST_LENGTH], values)

    @cached_property
    def mean(self) -> float:
        """The exactly rounded mean, so that it does not depend on the order of summing."""
        return math.fsum(self.values) / len(self.values)

    def encode(self) -> str:
        """`digest:` and base64 of the deflated float32 scores."""
        packed = zlib.compress(self.values.astype("<f4").tobytes(), 9)
        return f"{self.examples}:{base64.b64encode(packed).decode()}"

    @staticmethod
    def decode(text: str) -> "ExampleScores":
        """The inverse of `encode`, at float32 precision. StudyError when it is not one."""
        return _decode(text)


@lru_cache(maxsize=4096)
def _decode(text: str) -> ExampleScores:
    try:
        digest, packed = text.split(":")
        raw = zlib.decompress(base64.b64decode(packed, validate=True))
        values = np.frombuffer(raw, "<f4").astype(np.float64)
    except (ValueError, zlib.error, binascii.Error):
        raise StudyError(f"stored example scores cannot be read: {text[:40]!r}…") from None
    values.setflags(write=False)
    return ExampleScores(digest, values)
