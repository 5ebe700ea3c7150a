"""The words, signs and brackets of a query, each with its place in the text."""

import re
from dataclasses import dataclass
from typing import Literal

from agent.results.query.problems import QueryError

Kind = Literal["word", "sign", "value", "not", "and", "or", "(", ")"]
MOST_CHARACTERS = 2_000
SIGNS = ("!=", "==", "<=", ">=", "≤", "≥", "≠", "=", "<", ">", ":")
PLAIN_SIGN = {"==": "=", "≤": "<=", "≥": ">=", "≠": "!="}
_SIGN = re.compile(rf"(?::\s*)?({'|'.join(SIGNS[:-1])})|:")  # GitHub's `key:>=1` too
_WORD = re.compile(r"(?:(?!!=)[^\s()=<>:≤≥≠])+")
_SPACE = re.compile(r"\s*")
# A phone's keyboard turns plain quotes into curved ones.
_QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“”", "‘": "’"}
_JOINING: dict[str, Kind] = {
    "or": "or",
    "|": "or",
    "||": "or",
    "and": "and",
    "&": "and",
    "&&": "and",
    "not": "not",
}


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is without quotes, and a sign in its plain form; the place is the raw text's."""

    kind: Kind
    text: str
    start: int
    end: int
    is_quoted: bool = False


def tokens_of(query: str, *, is_unfinished: bool = False) -> list[Token]:
    """All tokens. QueryError for a quote that is not closed, a sign without a value, and a text
    that is too long. Of a query that somebody `is_unfinished` with, the last value may be open."""
    if len(query) > MOST_CHARACTERS:
        raise QueryError(
            f"the query has {len(query)} characters; at most {MOST_CHARACTERS} are read",
            MOST_CHARACTERS,
            len(query),
        )
    found: list[Token] = []
    place = _after_space(query, 0)
    while place < len(query):
        token = _token_at(query, place, is_unfinished)
        found.append(token)
        place = _after_space(query, token.end)
        if token.kind == "sign":
            value = _value_at(query, place, token, is_unfinished)
            found.append(value)
            place = _after_space(query, value.end)
    return found


def _token_at(query: str, place: int, is_unfinished: bool) -> Token:
    letter = query[place]
    if letter == "(":
        return Token("(", letter, place, place + 1)
    if letter == ")":
        return Token(")", letter, place, place + 1)
    if sign := _SIGN.match(query, place):
        text = sign[1] or ":"
        return Token("sign", PLAIN_SIGN.get(text, text), place, sign.end())
    if letter in _QUOTES:
        return _quoted(query, place, "word", is_unfinished)
    if letter in "-!" and place + 1 < len(query) and not query[place + 1].isspace():
        return Token("not", letter, place, place + 1)
    word = _WORD.match(query, place)
    end = word.end() if word else place + 1
    text = query[place:end]
    return Token(_JOINING.get(text.lower(), "word"), text, place, end)


def _value_at(query: str, place: int, sign: Token, is_unfinished: bool) -> Token:
    """A value may hold signs and balanced brackets of its own: `created>2026-01-01T10:00`."""
    if place < len(query) and query[place] in _QUOTES:
        return _quoted(query, place, "value", is_unfinished)
    end, depth = place, 0
    while end < len(query) and not query[end].isspace():
        depth += {"(": 1, ")": -1}.get(query[end], 0)
        if depth < 0:
            break
        end += 1
    if end == place and not is_unfinished:
        raise QueryError(f"a value is missing after {sign.text!r}", sign.start, sign.end)
    if depth > 0 and not is_unfinished:
        raise QueryError("a bracket in the value is not closed; put quotes around it", place, end)
    return Token("value", query[place:end], place, end)


def _quoted(query: str, start: int, kind: Kind, is_unfinished: bool) -> Token:
    closing = _QUOTES[query[start]]
    letters: list[str] = []
    place = start + 1
    while place < len(query):
        letter = query[place]
        if letter == "\\" and place + 1 < len(query) and query[place + 1] in (*closing, "\\"):
            letters.append(query[place + 1])
            place += 2
            continue
        if letter in closing:
            return Token(kind, "".join(letters), start, place + 1, is_quoted=True)
        letters.append(letter)
        place += 1
    if is_unfinished:
        return Token(kind, "".join(letters), start, place, is_quoted=True)
    raise QueryError("a quote is not closed", start, len(query))


def _after_space(query: str, place: int) -> int:
    space = _SPACE.match(query, place)
    return space.end() if space else place
