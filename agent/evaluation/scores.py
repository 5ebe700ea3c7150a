"""Scores: every headline score is a mean of per-example scores, so that runs compare in pairs.

A scorer takes the output and the golds of one example. Question answering follows SQuAD's
normalisation (arXiv 1606.05250) with HotpotQA's guard for yes, no and noanswer (arXiv
1809.09600); answers in Chinese, Japanese or Korean follow MLQA's (arXiv 1910.07475). Markup and
lists are scored as LongRefiner's pipeline reads them. Adding a task is one entry in `SCORERS`.
"""

import ast
import re
import string
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import json_repair

from agent.evaluation import document_structure


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


def score_document_structuring(output: str, golds: Sequence[str], document: str = "") -> Score:
    """F1 over the headings that the pipeline would get, each with its level, section and title.

    Where a gold closes its tags, both sides are read by upstream's rules against `document` (what
    was asked). Where it opens tags only, as the demo's do, a body reaches to the next tag and has
    to be found in the document just so. Golds of which nothing is found there, as bare outlines,
    are compared by their opening tags.
    Exact: the same headings in the same order. Without any heading on either side they agree (1).
    """
    return max(_score_structure(output, gold, document) for gold in golds)


def _score_structure(output: str, gold: str, document: str) -> Score:
    if document_structure.closes_tags(gold):
        # A gold whose bodies are not in the document is a document of its own.
        about = document if document_structure.parts_of(gold, document) else gold
        wanted = document_structure.parts_of(gold, about)
        found = document_structure.parts_of(output, about)
    elif wanted := document_structure.open_parts_of(gold, document):
        found = document_structure.open_parts_of(output, document)
    else:
        found, wanted = headings(output), headings(gold)
    is_exact = found == wanted if wanted else _squeeze(output) == _squeeze(gold)
    return Score(_multiset_f1(Counter(found), Counter(wanted)), float(is_exact))


def score_global_selection(output: str, golds: Sequence[str]) -> Score:
    """F1 over the set of selected titles; an output that upstream cannot read scores 0."""
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
    """The titles of a Python or JSON list of strings, normalised; None when it is not one.

    What is not whole is repaired with the library that upstream repairs it with; as there, an
    object gives its `selected_titles`.
    """
    value = _list_in(text)
    if isinstance(value, dict):
        value = value.get("selected_titles", [])
    elif isinstance(value, list) and len(value) > 1 and isinstance(value[0], dict):
        value = value[0].get("selected_titles", [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return [_squeeze(item).lower() for item in value]


_WITHOUT_COMMA = re.compile(r"""['"]\s+['"]""")


def _list_in(text: str) -> Any:
    """A literal as it stands, else what is left of one after repair; None without a bracket."""
    if not any(mark in text for mark in "[{"):
        return None
    if not _WITHOUT_COMMA.search(text):  # Python would join the two, upstream does not
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backslash that escapes nothing is fine in a title
            try:
                return ast.literal_eval(text.strip())
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                pass
    try:
        return json_repair.loads(text)
    except (ValueError, RecursionError):
        return None


# ---------------------------------------------------------------------- question answering
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_GUARDED = ("yes", "no", "noanswer")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


# Quotes, dashes and the like of word processors, in the ASCII that SQuAD's rule knows.
_TYPOGRAPHIC = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»″", '"'),
        **dict.fromkeys("‘’‚‛‹›′", "'"),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        "…": "...",
    }
)
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"


def normalise(text: str) -> str:
    """SQuAD's: lower case, no ASCII punctuation, no articles, single spaces."""
    plain = text.translate(_TYPOGRAPHIC).lower().translate(_PUNCTUATION)
    return _squeeze(_ARTICLES.sub(" ", plain))


def normalise_cjk(text: str) -> str:
    """MLQA's for Chinese: lower case and no punctuation of Unicode; full-width forms are made
    ordinary (NFKC) and spaces, which no word of these scripts needs, are taken out beside them."""
    wide = unicodedata.normalize("NFKC", text).lower()
    kept = (" " if unicodedata.category(letter)[0] == "P" else letter for letter in wide)
    return re.sub(rf"\s*(?<=[{_CJK}])\s+|\s+(?=[{_CJK}])", "", " ".join("".join(kept).split()))


def score_qa(output: str, golds: Sequence[str]) -> Score:
    """Best over the golds. Where both sides normalise to nothing they agree (as in SQuAD 2.0).

    The golds' script decides how both sides are normalised.
    """
    is_cjk = any(re.search(f"[{_CJK}]", gold) for gold in golds)
    rule = normalise_cjk if is_cjk else normalise
    prediction = rule(output)
    wanted = [rule(gold) for gold in golds]
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


def score(task: str, output: str, golds: Sequence[str], asked: str) -> Score:
    """The score of one answer; `asked` is the prompt's text, which holds the document."""
    scorer = SCORERS[task]
    if scorer is score_document_structuring:
        return score_document_structuring(output, golds, asked)
    return scorer(output, golds)


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
