"""A query as a tree of tests.

    query   = all { "or" all }
    all     = factor { ["and"] factor }
    factor  = { "-" | "not" } ( "(" query ")" | key sign value | word )

A key may be typed as several words (`best f1 >= 0.6`), and so may a value that the runs have
(`variant=QLoRA int4`): the longest run of words that means something is taken.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.results.query.keys import MOST_WORDS, Keys, listed
from agent.results.query.problems import QueryError
from agent.results.query.tokens import Token, tokens_of

MOST_NESTED = 60
Values = Callable[[str], Sequence[str]]  # the texts that a key has, in lower case


@dataclass(frozen=True, slots=True)
class Words:
    """Free text."""

    token: Token


@dataclass(frozen=True, slots=True)
class Condition:
    """`key` is a full key; `value` the text without quotes, which may be a list with commas unless
    it `is_quoted`; the places are in the query."""

    key: str
    sign: str
    value: str
    key_place: tuple[int, int]
    value_place: tuple[int, int]
    is_quoted: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    part: "Node"


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Any:
    parts: tuple["Node", ...]


Node = Words | Condition | Not | All | Any


def parse(query: str, keys: Keys, values: Values) -> Node:
    """The tree of a query; an empty one is `All(())`, which every run passes. QueryError says
    what is wrong and where."""
    parser = _Parser(tokens_of(query), keys, values)
    if not parser.tokens:
        return All(())
    found = parser.any_of(0)
    if (left := parser.next) is not None:
        raise QueryError("this bracket closes nothing", left.start, left.end)
    return found


class _Parser:
    def __init__(self, tokens: Sequence[Token], keys: Keys, values: Values) -> None:
        self.tokens = tokens
        self.keys = keys
        self.values = values
        self.place = 0

    @property
    def next(self) -> Token | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def _is_next(self, kind: str) -> bool:
        return self.next is not None and self.next.kind == kind

    def any_of(self, depth: int) -> Node:
        parts = [self.all_of(depth)]
        while self._is_next("or"):
            self.place += 1
            parts.append(self.all_of(depth))
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def all_of(self, depth: int) -> Node:
        parts = [self.factor(depth)]
        while (token := self.next) is not None and token.kind not in ("or", ")"):
            if token.kind == "and":
                self.place += 1
            parts.append(self.factor(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def factor(self, depth: int) -> Node:
        token = self.next
        if token is None or token.kind in ("or", "and", ")"):
            raise self._missing(token)
        if depth > MOST_NESTED:
            raise QueryError("the query is nested too deeply", token.start, token.end)
        if token.kind == "not":
            self.place += 1
            return Not(self.factor(depth + 1))
        if token.kind == "(":
            return self._bracket(token, depth)
        if token.kind == "sign":
            raise QueryError(f"a key is missing before {token.text!r}", token.start, token.end)
        return self._condition() or self._free_word(token)

    def _missing(self, token: Token | None) -> QueryError:
        """Something has to stand here: after `or`, `not`, `(` or at the beginning."""
        before = self.tokens[self.place - 1] if self.place else None
        if before is not None and before.kind in ("or", "and", "not", "("):
            what = "this bracket" if before.kind == "(" else f"{before.text!r}"
            return QueryError(f"something is missing after {what}", before.start, before.end)
        assert token is not None  # only an empty query has nothing at all
        if token.kind == ")":
            return QueryError("this bracket closes nothing", token.start, token.end)
        return QueryError(f"something is missing before {token.text!r}", token.start, token.end)

    def _bracket(self, opening: Token, depth: int) -> Node:
        self.place += 1
        found = self.any_of(depth + 1)
        if not self._is_next(")"):
            raise QueryError("this bracket is not closed", opening.start, opening.end)
        self.place += 1
        return found

    def _free_word(self, token: Token) -> Node:
        self.place += 1
        return Words(token)

    def _condition(self) -> Condition | None:
        """The test that begins at this word, if its key does."""
        run = self.place
        while run < len(self.tokens) and self.tokens[run].kind == "word":
            run += 1
        if run == len(self.tokens) or self.tokens[run].kind != "sign":
            return None
        words = self.tokens[self.place : run]
        if len(words) > MOST_WORDS:
            return None
        place = words[0].start, words[-1].end
        name = " ".join(word.text for word in words)
        meant = self.keys.meant(name)
        if not meant and len(words) > 1:
            return None  # free text, and a shorter key after it
        sign, value = self.tokens[run], self.tokens[run + 1]
        if len(words) == 1 and name.lower() in ("has", "no") and not meant:
            return self._presence(name.lower(), value, run)
        key = self._only(name, meant, place)
        self.place = run + 2
        text, end = self._whole_value(key, value)
        return Condition(key, sign.text, text, place, (value.start, end), value.is_quoted)

    def _presence(self, word: str, value: Token, run: int) -> Condition:
        place = value.start, value.end
        key = self._only(value.text, self.keys.meant(value.text), place)
        self.place = run + 2
        return Condition(key, word, "", place, place)

    def _only(self, name: str, meant: tuple[str, ...], place: tuple[int, int]) -> str:
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise QueryError(f"{name!r} may mean {listed(meant)}", *place, meant[:6])
        near = self.keys.near(name)
        raise QueryError(f"no run has a key {name!r}", *place, near)

    def _whole_value(self, key: str, value: Token) -> tuple[str, int]:
        """The value with the words after it that belong to it, and where it ends."""
        if value.is_quoted:
            return value.text, value.end
        following: list[Token] = []
        for token in self.tokens[self.place : self.place + MOST_WORDS]:
            if token.kind != "word" or token.is_quoted:
                break
            following.append(token)
        known = frozenset(self.values(key)) if following else frozenset()
        for count in range(len(following), 0, -1):
            text = " ".join([value.text, *(token.text for token in following[:count])])
            if text.lower() in known:
                self.place += count
                return text, following[count - 1].end
        return value.text, value.end
