"""The same question or document in two splits: what is learned by heart there scores here.

Documents are known by the id that records give them (`document_id` and its like) and by their
long lines of text.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.errors import DataError
from agent.training.data_formats import Example

LONG_LINE = 200  # characters of a line that is taken for a document's, not an instruction's
_SHOWN = 3  # examples named in a line


@dataclass(frozen=True)
class Overlap:
    """What of a split another one has as well: ids of the examples, and the first question."""

    split: str
    other: str
    size: int
    questions: tuple[str, ...]
    documents: tuple[str, ...]
    first_question: str = ""

    @property
    def lines(self) -> list[str]:
        found = []
        if self.questions:
            found.append(
                f"{self._count(self.questions)} prompts are {self._elsewhere} too: "
                f"{_shown(self.questions)}, which begins {self.first_question[:80]!r}"
            )
        if self.documents:
            found.append(
                f"{self._count(self.documents)} examples have a document that is "
                f"{self._elsewhere} too: {_shown(self.documents)}"
            )
        return found

    def _count(self, ids: Sequence[str]) -> str:
        return f"{len(ids)} of {self.size} {self.split}"

    @property
    def _elsewhere(self) -> str:
        return "trained on" if self.other == "training" else f"in {self.other}"

    def refuse_above(self, share: float) -> None:
        """DataError when more than `share` of the examples are shared."""
        found = [
            (self.questions, "take them out of one of the two"),
            (
                self.documents,
                "give each record its document_id, so that documents are held out "
                "whole, or take them out of one of the two",
            ),
        ]
        shared = [(ids, advice) for ids, advice in found if ids]
        for (ids, advice), line in zip(shared, self.lines, strict=True):
            if len(ids) > share * self.size:
                raise DataError(
                    f"{line}; that is more than max_shared_share = {share:g}: their scores would "
                    f"say what was learned by heart; {advice}"
                )


def _shown(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return f"{', '.join(ids[:_SHOWN])}{more}"


def between(
    split: str, examples: Sequence[Example], other: str, others: Sequence[Example]
) -> Overlap:
    """What `examples` share with `others`; both named for the report."""
    asked = {question_key(example) for example in others}
    questions = [example for example in examples if question_key(example) in asked]
    sources = {example.source for example in others} - {""}
    lines = _document_lines(others)
    documents = [
        example
        for example in examples
        if example.source in sources or not lines.isdisjoint(_long_lines(example))
    ]
    return Overlap(
        split,
        other,
        len(examples),
        tuple(example.id for example in questions),
        tuple(example.id for example in documents),
        questions[0].messages[-1][1] if questions else "",
    )


def question_key(example: Example) -> str:
    """What is asked, apart from case, white space, punctuation and the form of letters and
    quotation marks: equal for the same question in two splits."""
    text = "\n".join(content for role, content in example.messages if role != "system")
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", plain)) or plain


def _document_lines(examples: Iterable[Example]) -> set[str]:
    """Long lines, besides those that most examples have, as an instruction is."""
    examples = list(examples)
    counts = Counter(line for example in examples for line in _long_lines(example))
    common = max(len(examples) / 2, 1)
    return {line for line, count in counts.items() if count <= common}


def _long_lines(example: Example) -> set[str]:
    texts = (content for role, content in example.messages if role != "system")
    lines = (line for text in texts for line in text.split("\n"))
    return {" ".join(line.casefold().split()) for line in lines if len(line) >= LONG_LINE}
