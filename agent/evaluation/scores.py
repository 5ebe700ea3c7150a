"""Scores: every headline score is a mean of per-example scores, so that runs compare in pairs.

A scorer takes the output and the golds of one example. Question answering follows SQuAD's
normalisation (arXiv 1606.05250) with HotpotQA's guard for yes, no and noanswer (arXiv
1809.09600). Markup and lists are scored on their structure, since stripping punctuation would
destroy them. Adding a task is one entry in `SCORERS`.
"""

import ast
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple


class Score(NamedTuple):
    """All in [0, 1]: `f1` is the headline, `exact` feeds accuracy."""

    f1: float
    exact: float
    substring: float | None = None  # question answering only


Scorer = Callable[[str, Sequence[str]], Score]


# ---------------------------------------------------------------------- LongRefiner's tasks
def score_query_analysis(output: str, golds: Sequence[str]) -> Score:
    """[Local] or [Global]: F1 is the exact match, apart from case and outer white space."""
    exact = float(any(_squeeze(output).lower() == _squeeze(gold).lower() for gold in golds))
    return Score(exact, exact)


def score_document_structuring(output: str, golds: Sequence[str]) -> Score:
    """F1 over the multiset of headings, each with its level, its section and its title.

    Body text does not count; two documents without any heading agree (1).
    """
    found = Counter(headings(output))
    f1 = max(_multiset_f1(found, Counter(headings(gold))) for gold in golds)
    return Score(f1, float(any(_squeeze(output) == _squeeze(gold) for gold in golds)))


def score_global_selection(output: str, golds: Sequence[str]) -> Score:
    """F1 over the set of selected titles; an output that is no list of strings scores 0."""
    selected = titles(output)
    if selected is None:
        return Score(0.0, 0.0)
    wanted = [set(titles(gold) or ()) for gold in golds]
    f1 = max(_multiset_f1(Counter(set(selected)), Counter(gold)) for gold in wanted)
    return Score(f1, float(any(set(selected) == gold for gold in wanted)))


_HEADING = re.compile(r"<(abstract|section|sub-section)(?::\s*([^>]*))?>", re.IGNORECASE)


def headings(text: str) -> list[tuple[str, str, str]]:
    """(level, section it belongs to, title) of every opening tag, in order."""
    found = []
    section = ""
    for level, title in _HEADING.findall(text):
        name = _squeeze(title).lower()
        if level.lower() == "section":
            section = name
        found.append((level.lower(), section if level.lower() == "sub-section" else "", name))
    return found


def titles(text: str) -> list[str] | None:
    """The titles of a Python list of strings, normalised; None when it is no such list."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return [_squeeze(item).lower() for item in value]


# ---------------------------------------------------------------------- question answering
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_GUARDED = ("yes", "no", "noanswer")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """SQuAD's: lower case, no ASCII punctuation, no articles, single spaces."""
    return _squeeze(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)))


def score_qa(output: str, golds: Sequence[str]) -> Score:
    """Best over the golds. Where both sides normalise to nothing they agree (as in SQuAD 2.0)."""
    prediction = normalise(output)
    wanted = [normalise(gold) for gold in golds]
    f1 = max(_answer_f1(prediction, gold) for gold in wanted)
    exact = float(prediction in wanted)
    # A gold that normalises to nothing is a substring of everything, so it proves nothing.
    inside = any(gold in prediction for gold in wanted if gold)
    return Score(f1, exact, float(inside or bool(exact)))


def _answer_f1(prediction: str, gold: str) -> float:
    if (prediction in _GUARDED or gold in _GUARDED) and prediction != gold:
        return 0.0
    return _multiset_f1(Counter(_tokens(prediction)), Counter(_tokens(gold)))


def _tokens(text: str) -> list[str]:
    """Words; in scripts written without spaces, characters (else F1 would be exact match)."""
    return re.findall(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+", text)


# Han, kana, Thai, Lao, Myanmar, Khmer.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"


SCORERS: dict[str, Scorer] = {
    "query_analysis": score_query_analysis,
    "document_structuring": score_document_structuring,
    "global_selection": score_global_selection,
    "qa": score_qa,
}


# ---------------------------------------------------------------------- parts
def _squeeze(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _multiset_f1(found: Counter[Any], wanted: Counter[Any]) -> float:
    """Harmonic mean of precision and recall; two empty sides agree (1), one empty side is 0."""
    if not found and not wanted:
        return 1.0
    common = (found & wanted).total()
    return 2 * common / (found.total() + wanted.total())


def macro_f1(outputs: Iterable[str], golds: Iterable[str]) -> float:
    """Mean over the gold classes of each class's F1; a corpus score, without per-example parts."""
    pairs = [
        (_squeeze(o).lower(), _squeeze(g).lower()) for o, g in zip(outputs, golds, strict=True)
    ]
    classes = sorted({gold for _, gold in pairs})
    per_class = []
    for name in classes:
        hits = sum(o == g == name for o, g in pairs)
        claimed = sum(o == name for o, _ in pairs)
        actual = sum(g == name for _, g in pairs)
        per_class.append(2 * hits / (claimed + actual))
    return sum(per_class) / len(per_class)
