"""Which key a word of a query means: the full one, a short one, or one that people say.

In this order: the key itself, `config.` or `summary.` before it, another spelling of its capitals,
a usual short name, its title, its last part, and words that only one key has.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from agent.config.run_config import RunConfig
from agent.results.presentation import (
    BY_KEY,
    CURVE,
    LATENCY,
    METRICS,
    MODEL_SIZE,
    SCORE,
    TEST_SCORE,
)
from agent.results.query.records import Record

# Known in every project, so that a query does not turn into an error before the first run.
OWN_KEYS = (
    *("name", "id", "state", "variant", "created", "duration_s", "sweep", "job_type", "group"),
    *("tags", "project"),
)
STUDY_KEYS = (*OWN_KEYS, *RunConfig.model_fields, *(metric.key for metric in METRICS))
# What people type; the first key that the runs have is meant.
SHORT_NAMES: Mapping[str, tuple[str, ...]] = {
    "lr": ("learning_rate",),
    "status": ("state",),
    "is": ("state",),
    "tag": ("tags",),
    "duration": ("duration_s",),
    "runtime": ("duration_s",),
    "run": ("name",),
    "run_id": ("id",),
    "f1": (SCORE, CURVE, TEST_SCORE),
    "final f1": (SCORE,),
    "best f1": ("best/validation_f1_score",),
    "latency": (LATENCY,),
    "size": (MODEL_SIZE,),
    "vram": ("train/peak_vram_gb",),
    "strategy": ("quantization_strategy",),
    "method": ("quantization_method",),
    "rank": ("lora_rank",),
    "model": ("base_model",),
}
MOST_WORDS = 4  # of a key that is typed as words: `final validation f1`
_PREFIX = re.compile(r"(config|summary|run)(?:_metrics)?[./](.+)", re.DOTALL)
_PARTS = re.compile(r"[^\W_]+")


class Keys:
    """The keys of some runs, and of the study."""

    def __init__(self, records: Sequence[Record]) -> None:
        present: dict[str, object] = {}
        for record in records:
            present.update(record.values)
        self._records = records
        self.present = tuple(present)
        self.every = tuple(dict.fromkeys((*present, *STUDY_KEYS)))
        self._known = frozenset(self.every)

    def meant(self, word: str) -> tuple[str, ...]:
        """The keys that a word may mean: one where it is clear, several where it is not."""
        word = word.strip()
        if not word:
            return ()
        if word in self._known:
            return (word,)
        if found := self._with_prefix(word):
            return (found,)
        lower = word.lower()
        if found := self._by_lower.get(lower):
            return (found,)
        if names := SHORT_NAMES.get(" ".join(_parts(word))):
            return (next((key for key in names if key in self._present), names[0]),)
        return self._by_words(_parts(word))

    def near(self, word: str, most: int = 4) -> tuple[str, ...]:
        """Keys that look like the word, those of the runs first."""
        lower = word.lower()
        names: dict[str, str] = {}
        for key in self.every:
            names.setdefault(_last_part(key), key)
        names.update(self._by_lower)
        close = difflib.get_close_matches(lower[:100], names, n=most, cutoff=0.6)
        holding = [key for key in self.every if len(lower) > 2 and lower in key.lower()]
        return tuple(dict.fromkeys([*(names[name] for name in close), *holding]))[:most]

    @cached_property
    def _present(self) -> frozenset[str]:
        return frozenset(self.present)

    @cached_property
    def _by_lower(self) -> dict[str, str]:
        return {key.lower(): key for key in reversed(self.every)}

    def _with_prefix(self, word: str) -> str | None:
        match = _PREFIX.fullmatch(word)
        if match is None:
            return None
        origin, key = match.groups()
        plain = (
            key.removesuffix(".value") if origin == "config" else key
        )  # as W&B's filters have it
        for name in (f"{origin}.{key}", key, f"{origin}.{plain}", plain):
            if name in self._known and self._origin(name) in (origin, None):
                return name
        return None

    def _origin(self, key: str) -> str | None:
        return next((r.origins[key] for r in self._records if key in r.origins), None)

    def _by_words(self, wanted: Sequence[str]) -> tuple[str, ...]:
        for names in (self.present, self.every):
            for test in (_is_title, _is_last_part, _has_words):
                found = tuple(key for key in names if test(key, wanted))
                if found:
                    return found
        return ()


def _is_title(key: str, wanted: Sequence[str]) -> bool:
    known = BY_KEY.get(key)
    return known is not None and _parts(known.title) == list(wanted)


def _is_last_part(key: str, wanted: Sequence[str]) -> bool:
    return _parts(_last_part(key)) == list(wanted)


def _has_words(key: str, wanted: Sequence[str]) -> bool:
    return bool(wanted) and set(wanted) <= set(_parts(key))


def _last_part(key: str) -> str:
    return re.split(r"[/.]", key)[-1].lower() or key.lower()


def _parts(text: str) -> list[str]:
    """`best/validation_f1_score` as best, validation, f1, score."""
    return _PARTS.findall(text.lower())


def listed(names: Iterable[str], most: int = 6) -> str:
    """Some names in a message."""
    every = list(names)
    rest = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + rest
