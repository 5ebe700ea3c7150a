"""Which runs a query finds.

`find` is asked by the server's filter and by every `--where`; what it says about a query that can
find nothing is part of the answer, so that no filter fails in silence.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from agent.results.presentation import variant_labels
from agent.results.query.keys import Keys, listed
from agent.results.query.parser import All, Condition, Node, Not, Words, parse
from agent.results.query.problems import QueryError
from agent.results.query.records import Record, Scalar
from agent.results.query.values import (
    NOT_A_NUMBER,
    NOTHING,
    compares,
    equals,
    is_number,
    limit_of,
    number_of,
)

Passes = Callable[[Record], bool]
_ORDERED = ("<", "<=", ">", ">=")
_RANGE = ".."


@dataclass(frozen=True)
class Found:
    """`places` of the records that pass, in their order; `notes` say what can never match."""

    places: tuple[int, ...]
    notes: tuple[str, ...] = ()


class Runs:
    """Some runs, ready to be asked: their keys, and the values of each."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.keys = Keys(records)
        self.values = lru_cache(maxsize=64)(self._values)

    def find(self, query: str) -> Found:
        """QueryError when the query says nothing that can be understood."""
        tree = parse(query, self.keys, self.texts)
        if tree == All(()):
            return Found(tuple(range(len(self.records))))
        notes: list[str] = []
        passes = self._test(tree, notes)
        places = [place for place, record in enumerate(self.records) if passes(record)]
        return Found(tuple(places), tuple(dict.fromkeys(notes)))

    def texts(self, key: str) -> tuple[str, ...]:
        """The texts that a key has or, of variants, may have; in lower case."""
        named = variant_labels() if key == "variant" else ()
        found = (value for value in self.values(key) if isinstance(value, str))
        return tuple(text.lower() for text in dict.fromkeys((*found, *named)))

    def _values(self, key: str) -> Counter[Scalar]:
        """The distinct values of a key, the most frequent first."""
        counts: Counter[Scalar] = Counter()
        counts.update(r.values[key] for r in self.records if r.values.get(key) is not None)
        return counts

    # ------------------------------------------------------------------ tests
    def _test(self, node: Node, notes: list[str]) -> Passes:
        if isinstance(node, Words):
            return _free_text(node.token.text)
        if isinstance(node, Condition):
            return self._condition(node, notes)
        if isinstance(node, Not):
            inner = self._test(node.part, notes)
            return lambda record: not inner(record)
        parts = [self._test(part, notes) for part in node.parts]
        if isinstance(node, All):
            return lambda record: all(part(record) for part in parts)
        return lambda record: any(part(record) for part in parts)

    def _condition(self, node: Condition, notes: list[str]) -> Passes:
        key = node.key
        is_any = node.value == "*" and node.sign in (":", "=", "!=") and not node.is_quoted
        if is_any or node.sign in ("has", "no"):
            is_wanted = node.sign not in ("no", "!=")
            return lambda record: (record.values.get(key) is not None) is is_wanted
        if node.sign in _ORDERED:
            test = compares(node.sign, self._limit(node, node.value))
            self._note(node, test, notes)
        elif _RANGE in node.value and (found := self._range(node)) is not None:
            test = found
            self._note(node, test, notes)
        else:
            test = self._equals(node)
            self._note(node, test, notes)
        if node.sign == "!=":
            return lambda record: not test(record.values.get(key))
        return lambda record: test(record.values.get(key))

    def _equals(self, node: Condition) -> Callable[[Scalar], bool]:
        """The test of `:` and `=`; of `a,b` either, unless a run has the whole of it."""
        is_whole = node.sign != ":"
        parts = [part for part in node.value.split(",") if part.strip()]
        if len(parts) > 1 and not node.is_quoted:
            whole = equals(node.value, node.key, is_whole=is_whole)
            if not any(whole(value) for value in self.values(node.key)):
                for part in parts:
                    self._require_kind(replace(node, value=part))
                tests = [equals(part, node.key, is_whole=is_whole) for part in parts]
                return lambda value: any(test(value) for test in tests)
        self._require_kind(node)
        return equals(node.value, node.key, is_whole=is_whole)

    def _limit(self, node: Condition, text: str) -> int | float:
        limit = limit_of(text, node.key)
        if limit is None:
            raise QueryError(
                f"{node.key} is compared with {text!r}, which is not a number"
                if text
                else f"a number is missing for {node.key}",
                *node.value_place,
            )
        values = self.values(node.key)
        if values and not any(
            is_number(value) or number_of(str(value)) is not None for value in values
        ):
            raise QueryError(
                f"{node.key} holds texts, which have no order for {node.sign!r}; use : or =",
                *node.key_place,
            )
        return limit

    def _range(self, node: Condition) -> Callable[[Scalar], bool] | None:
        """`1e-5..1e-3`, open with `*` or nothing at an end; None for any other value."""
        low, _, high = node.value.partition(_RANGE)
        ends = [(">=", low), ("<=", high)]
        tests = []
        for sign, text in ends:
            if text in ("", "*"):
                continue
            limit = limit_of(text, node.key)
            if limit is None:
                return None
            tests.append(compares(sign, limit))
        return (lambda value: all(test(value) for test in tests)) if tests else None

    def _require_kind(self, node: Condition) -> None:
        """A word against a key that holds nothing but numbers is a slip, not a filter."""
        word = node.value.strip().lower()
        if "*" in word or word in (NOT_A_NUMBER, *NOTHING) or limit_of(word, node.key) is not None:
            return
        values = self.values(node.key)
        if values and all(is_number(value) for value in values):
            shown = f"{node.value!r} is not a number" if word else "the value is empty"
            raise QueryError(f"{node.key} holds numbers, and {shown}", *node.value_place)

    def _note(self, node: Condition, test: Callable[[Scalar], bool], notes: list[str]) -> None:
        values = self.values(node.key)
        if not values:
            notes.append(f"no run has a value of {node.key} yet")
        elif not any(test(value) for value in values) and node.value.lower() not in NOTHING:
            sign = "" if node.sign in (":", "=", "!=") else f"{node.sign} "
            said = f"no run has {node.key} {sign}{node.value!r}"
            notes.append(f"{said}; there {_described(values)}")


def find(query: str, records: Sequence[Record]) -> Found:
    """The runs that a query finds. QueryError says which word is wrong, and where."""
    return Runs(records).find(query)


def _free_text(text: str) -> Passes:
    """Inside any text of the run, `*` for any letters; a number also among its numbers."""
    word = text.lower().strip("*") or text.lower()
    number = number_of(word)
    if "*" in word:
        pieces = [piece for piece in word.split("*") if piece]
        return lambda record: any(_holds(line, pieces) for line in record.words.split("\n"))
    if number is None:
        return lambda record: word in record.words
    return lambda record: word in record.words or number in record.values.values()


def _holds(line: str, pieces: Sequence[str]) -> bool:
    """Whether the pieces stand in the line, one after the other."""
    place = 0
    for piece in pieces:
        found = line.find(piece, place)
        if found < 0:
            return False
        place = found + len(piece)
    return True


def _shown(value: Scalar) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)[:60]


def _described(values: Counter[Scalar]) -> str:
    """What a key has: its range where that says it, else its most frequent values."""
    numbers = [float(v) for v in values if isinstance(v, int | float) and abs(v) < 1e300]
    if len(numbers) == len(values) > 7:
        return f"are {len(numbers)} values from {min(numbers):g} to {max(numbers):g}"
    shown = [_shown(value) for value, _ in values.most_common(7)]
    return f"{'is' if len(shown) == 1 else 'are'} {listed(shown)}"
