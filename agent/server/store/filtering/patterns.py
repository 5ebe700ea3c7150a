"""Regular expressions from clients, without those that can hang the server.

Python's engine tries one way after the other, and holds the interpreter while it does. The ways
are counted beforehand, and a pattern with too many of them is refused.
"""

import re
from functools import lru_cache

# Private, and the only reader of patterns that is Python's own; the stubs leave it out.
from re import _constants as kinds  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from agent.server.refusals import Refused

MAX_PATTERN = 200
MAX_TEXT = 200
MAX_WAYS = 50_000  # two open repeats over the longest text, and a little more
_REPEATS = frozenset({kinds.MAX_REPEAT, kinds.MIN_REPEAT})
_TOO_COSTLY = frozenset({kinds.GROUPREF, kinds.GROUPREF_EXISTS, kinds.ASSERT, kinds.ASSERT_NOT})


def is_match(pattern: str, value: object) -> bool:
    """Whether the pattern is found in the value's first characters. Raises Refused."""
    return value is not None and compile_pattern(pattern).search(str(value)[:MAX_TEXT]) is not None


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> "re.Pattern[str]":
    """The pattern, if it is one and cannot take long. Raises Refused."""
    try:
        if len(pattern) > MAX_PATTERN:
            raise Refused(f"filters: a pattern may have {MAX_PATTERN} characters")
        if _ways(parser.parse(pattern), inside=False) > MAX_WAYS:
            raise Refused("filters: the pattern has too many *, +, ? or | for a search")
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise Refused(f"filters: {pattern[:80]!r} is not a pattern: {error}") from None


def _ways(node: Any, *, inside: bool) -> int:
    """In how many ways the engine may try to match. Raises Refused where that explodes."""
    ways = 1
    for kind, argument in node if isinstance(node, parser.SubPattern) else [node]:
        if kind in _TOO_COSTLY:
            raise Refused("filters: a pattern may not look around or back")
        is_repeat = kind in _REPEATS and argument[1] > 1
        is_open = kind is kinds.BRANCH or (kind in _REPEATS and argument[1] > argument[0])
        if inside and is_open:
            raise Refused("filters: a pattern may not repeat what repeats or branches")
        if kind in _REPEATS:
            ways *= min(int(argument[1]) - int(argument[0]) + 1, MAX_TEXT)
        elif kind is kinds.BRANCH:
            ways *= len(argument[1])
        for child in _children(argument):
            ways *= _ways(child, inside=inside or is_repeat)
    return ways


def _children(argument: Any) -> list[Any]:
    """The patterns within a node's argument, however the parser packs them."""
    if isinstance(argument, parser.SubPattern):
        return [argument]
    if isinstance(argument, list | tuple):
        return [child for item in argument for child in _children(item)]
    return []
