"""Typed comparison of a run's value with what stands in a query: 1e-4 is 0.0001.

Texts are compared without regard to capitals. `=` wants the whole text, `:` whole words inside of
it, and `*` stands for any letters in both. A number of four or more digits also finds what is
rounded to it, because tables show rounded numbers.
"""

import fnmatch
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime

from agent.results.query.records import Scalar

Test = Callable[[Scalar], bool]

MOST_DIGITS = 4_000  # of a whole number that is read exactly
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?\d+")
_SPECIAL = {
    **dict.fromkeys(("inf", "+inf", "infinity", "+infinity", "∞"), math.inf),
    **dict.fromkeys(("-inf", "-infinity", "-∞"), -math.inf),
}
_DURATION = re.compile(r"([\d.]+)\s*(s|sec|min|m|h|d)", re.IGNORECASE)
_SECONDS = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400}
NOT_A_NUMBER = "nan"
NOTHING = ("none", "null")
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}
# Other words for the states of runs, in lower case.
STATE_WORDS = {"done": "finished", "complete": "finished", "completed": "finished"}


def number_of(text: str) -> int | float | None:
    """The number that a text is; None for any other text, NaN among them."""
    word = text.strip()
    if _WHOLE.fullmatch(word) and len(word) <= MOST_DIGITS:
        return int(word)
    if _NUMBER.fullmatch(word):
        return float(word)
    return _SPECIAL.get(word.lower())


def limit_of(text: str, key: str) -> int | float | None:
    """A number as `number_of` reads it; of `created` also a date, of a duration also `10min`."""
    found = number_of(text)
    if found is not None:
        return found
    if key == "created":
        try:
            moment = datetime.fromisoformat(text.strip())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    if key.endswith(("_s", "_seconds")) and (match := _DURATION.fullmatch(text.strip())):
        amount = number_of(match[1])
        return None if amount is None else amount * _SECONDS[match[2].lower()]
    return None


def is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compares(sign: str, limit: int | float) -> Test:
    """The test of `<`, `<=`, `>` or `>=`; NaN and texts pass none."""

    def test(value: Scalar) -> bool:
        found = _as_number(value)
        if found is None or math.isnan(limit):
            return False
        if sign == "<":
            return found < limit
        if sign == "<=":
            return found <= limit or is_same(found, limit)
        if sign == ">":
            return found > limit
        return found >= limit or is_same(found, limit)

    return test


def equals(wanted: str, key: str, *, is_whole: bool) -> Test:
    """The test of `=` (`is_whole`) or `:`."""
    word = wanted.strip().lower()
    if key == "state":
        word = STATE_WORDS.get(word, word)
    number = limit_of(word, key)
    pattern = _pattern(word, is_whole=is_whole)
    digits = _digits(word)

    def test(value: Scalar) -> bool:
        if value is None:
            return word in NOTHING
        if isinstance(value, bool):
            return value is _TRUTH.get(word) or (number is not None and int(value) == number)
        if isinstance(value, int | float):
            if isinstance(value, float) and math.isnan(value):
                return word == NOT_A_NUMBER
            return number is not None and (
                is_same(value, number) or _is_rounded(value, number, digits)
            )
        if pattern.search(value.lower()):
            return True
        found = None if number is None else number_of(value)
        return number is not None and found is not None and is_same(found, number)

    return test


def is_same(one: float, other: float) -> bool:
    """Equal but for the last bits of a double."""
    if one == other:
        return True
    if isinstance(one, int) and isinstance(other, int):
        return False
    try:
        return math.isclose(one, other, rel_tol=1e-12)
    except OverflowError:  # a whole number beyond every double
        return False


def _as_number(value: Scalar) -> int | float | None:
    if value is None or isinstance(value, bool):
        return None
    found = number_of(value) if isinstance(value, str) else value
    return None if found is None or (isinstance(found, float) and math.isnan(found)) else found


def _pattern(word: str, *, is_whole: bool) -> re.Pattern[str]:
    if is_whole or "*" in word:
        plain = word.replace("[", "[[]").replace("?", "[?]")
        inner = fnmatch.translate(plain)  # atomic groups: no pattern takes long
        return re.compile(rf"\A{inner}")
    before = r"(?<![^\W_])" if word[:1].isalnum() else ""
    after = r"(?![^\W_])" if word[-1:].isalnum() else ""
    return re.compile(before + re.escape(word) + after)


def _digits(word: str) -> int:
    """How many significant digits a typed number has; 0 for what is none."""
    if not _NUMBER.fullmatch(word):
        return 0
    mantissa = re.split("e", word)[0].lstrip("+-").replace(".", "").lstrip("0")
    return len(mantissa)


def _is_rounded(value: float, wanted: float, digits: int) -> bool:
    """Whether a measured number is shown as the typed one; whole numbers are never rounded."""
    if isinstance(value, int) or not 4 <= digits <= 15 or not math.isfinite(value):
        return False
    return is_same(float(f"{value:.{digits - 1}e}"), wanted)
