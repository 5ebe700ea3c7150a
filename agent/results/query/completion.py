"""What may stand at the cursor of a query: keys, then the values that the runs have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agent.results.presentation import BY_KEY, setting_text, variant_labels
from agent.results.query.keys import MOST_WORDS
from agent.results.query.problems import QueryError
from agent.results.query.records import Scalar
from agent.results.query.search import Runs
from agent.results.query.tokens import SIGNS, Token, tokens_of
from agent.results.query.values import is_number

MOST_CANDIDATES = 12
_TO_QUOTE = set(" ,\t\n()\"'“”„‘’|&") | {letter for sign in SIGNS for letter in sign}


@dataclass(frozen=True)
class Candidate:
    """`insert` goes into the query as it is; `label` is read; `count` runs have the value."""

    insert: str
    label: str
    count: int | None = None


@dataclass(frozen=True)
class Completion:
    """Candidates for the characters from `start` to `end`, the likeliest first."""

    kind: Literal["key", "value"]
    start: int
    end: int
    candidates: tuple[Candidate, ...]


def complete(query: str, cursor: int, runs: Runs) -> Completion:
    """For a cursor after `cursor` characters; never an error, whatever stands in the query."""
    cursor = max(0, min(cursor, len(query)))
    nothing = Completion("key", cursor, cursor, ())
    try:
        tokens = tokens_of(query[:cursor], is_unfinished=True)
    except QueryError:
        return nothing
    last = tokens[-1] if tokens else None
    if last is not None and last.kind == "value" and (last.end == cursor or not last.text):
        key = _key_before(tokens, runs)
        found = _values(key, last.text, runs) if key else ()
        return Completion("value", last.start if last.text else cursor, cursor, found)
    if last is not None and last.kind == "word" and last.end == cursor:
        return Completion("key", last.start, cursor, _keys(last.text, runs))
    return Completion("key", cursor, cursor, _keys("", runs))


def _key_before(tokens: Sequence[Token], runs: Runs) -> str | None:
    """The key of the value at the end, of as many words as mean one."""
    words: list[str] = []
    for token in reversed(tokens[:-2]):
        if token.kind != "word" or len(words) == MOST_WORDS:
            break
        words.insert(0, token.text)
    for start in range(len(words)):
        meant = runs.keys.meant(" ".join(words[start:]))
        if len(meant) == 1:
            return meant[0]
    return None


def _keys(part: str, runs: Runs) -> tuple[Candidate, ...]:
    wanted = part.lower()
    names = runs.keys.every if part else runs.keys.present
    ranked = []
    for place, key in enumerate(names):
        lower = key.lower()
        title = BY_KEY[key].heading if key in BY_KEY else ""
        if lower.startswith(wanted):
            rank = 0
        elif any(piece.startswith(wanted) for piece in lower.replace(".", "/").split("/")):
            rank = 1
        elif wanted in lower or wanted in title.lower():
            rank = 2
        else:
            continue
        ranked.append((rank, place, key, title))
    ranked.sort()
    return tuple(
        Candidate(f"{quoted(key)}:", title or key) for _, _, key, title in ranked[:MOST_CANDIDATES]
    )


def _values(key: str, part: str, runs: Runs) -> tuple[Candidate, ...]:
    wanted = part.lower()
    counts = dict(runs.values(key).most_common())
    if key == "variant":
        counts = {**counts, **{name: counts.get(name, 0) for name in variant_labels()}}
    found = []
    for place, (value, count) in enumerate(counts.items()):
        label = _text(value)
        if wanted in label.lower():
            begins = label.lower().startswith(wanted)
            found.append((not begins, place, Candidate(quoted(label), label, count)))
    found.sort(key=lambda item: item[:2])
    return tuple(candidate for _, _, candidate in found[:MOST_CANDIDATES])


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return setting_text(value) if is_number(value) else str(value)


def quoted(text: str) -> str:
    """The text as a query holds it: in quotes where it would fall apart without."""
    is_plain = text and not set(text) & _TO_QUOTE and text[0] not in "-!"
    is_joining = text.lower() in ("or", "and", "not")
    if is_plain and not is_joining:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
