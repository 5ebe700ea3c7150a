"""`early_terminate` of a sweep: hyperband, the one kind that W&B has."""

from dataclasses import dataclass
from typing import Any

from agent.config.rules import unknown_name
from agent.config.values import read_number, read_whole

MOST_BANDS = 100
LAST_ITERATION = 10**9
_KEYS = ("type", "min_iter", "max_iter", "s", "eta", "strict")


@dataclass(frozen=True)
class Hyperband:
    """At which iterations runs are compared, and how many survive."""

    eta: float
    bands: tuple[int, ...]
    is_strict: bool


def read_hyperband(given: Any, problems: list[str]) -> Hyperband | None:
    """The setting; None, with its faults in `problems`, where it cannot be read."""
    unknown = [key for key in given if key not in _KEYS] if isinstance(given, dict) else []
    for key in unknown:
        problems.append(f"early_terminate: {unknown_name(str(key), _KEYS, 'key')}")
    if isinstance(given, dict) and "type" not in given:
        problems.append("early_terminate.type is missing: here {type: hyperband, min_iter: 3}")
        return None
    if not isinstance(given, dict) or given["type"] != "hyperband":
        shown = given.get("type") if isinstance(given, dict) else given
        problems.append(
            f"early_terminate.type = {shown!r}: only hyperband is known, here "
            "{type: hyperband, min_iter: 3}"
        )
        return None
    before = len(problems) - len(unknown)
    eta = read_number(given.get("eta", 3))
    if eta is None or eta <= 1:
        problems.append(f"early_terminate.eta = {given['eta']!r}: must be a number above 1")
    if not isinstance(given.get("strict", False), bool):
        problems.append(f"early_terminate.strict = {given['strict']!r}: must be true or false")
    for key in ("min_iter", "max_iter", "s"):
        whole = read_whole(given.get(key))
        if key in given and (whole is None or whole < 1):
            problems.append(
                f"early_terminate.{key} = {given[key]!r}: must be a whole number of at least 1"
            )
    if "min_iter" not in given and not {"max_iter", "s"} <= given.keys():
        problems.append("early_terminate: needs min_iter, or max_iter with s")
    if len(problems) > before or eta is None:
        return None
    bands = _bands(
        float(eta), *(read_whole(given.get(key)) for key in ("min_iter", "max_iter", "s"))
    )
    if not bands:
        problems.append(
            "early_terminate: no iteration is left to compare runs at; make max_iter or s larger"
        )
        return None
    return Hyperband(float(eta), bands, bool(given.get("strict", False)))


def _bands(
    eta: float, min_iter: int | None, max_iter: int | None, s: int | None
) -> tuple[int, ...]:
    """Upwards from min_iter, or downwards from max_iter in s steps; never outside of the two."""
    found = set()
    if max_iter is not None and s is not None:
        band = float(max_iter)
        for _ in range(min(s, MOST_BANDS)):
            band /= eta
            found.add(int(band))
    elif min_iter is not None:
        band = float(min_iter)
        while band < LAST_ITERATION and len(found) < MOST_BANDS:
            found.add(int(band))
            band *= eta
    last = LAST_ITERATION if max_iter is None else max_iter
    return tuple(sorted(band for band in found if max(min_iter or 1, 1) <= band <= last))
