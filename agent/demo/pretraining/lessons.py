"""What the demo's base model is taught: many short questions on every document of the world.

Dense supervision is what makes so small a model learn to look things up within two minutes: one
answer per document teaches it nothing in that time. No lesson uses an instruction or a form of
answer of the fine-tuning tasks, which therefore stay to be learned; the repetitions alone show
their markup, in random order, so that its embeddings are not left untrained.
"""

from collections.abc import Callable, Sequence
from random import Random

from agent.demo import toy_world
from agent.demo.toy_world import Document

Turn = tuple[str, str]  # question, answer

# Every form of words a lesson uses stands here: the tokenizer's vocabulary is read from it.
FORMS = {
    "subjects": "name all subjects in order, one a line.",
    "next": "which subject follows {0}?",
    "owner": "which subject speaks of the {0}?",
    "owners": "to which subjects belong {0}?",
    "words": "what is said under {0}?",
    "first_words": "name the first word of every subject.",
    "lines": "write one a line: {0}",
    "inner": "which subjects lie inside another?",
    "alone": "does {0} stand alone?",
    "kind": "what kind of town is it?",
    "pairs": "name every subject with its first word.",
    "width": "how much text does this need: {0}",
    "repeat": "repeat {0}",
}
ANSWERS = ("none", "yes", "no", "little", "much", "all", "is", "inside", "and")
TURNS_PER_DOCUMENT = 8


def lesson(rng: Random, markup: Sequence[str]) -> list[Turn]:
    """A document, given with the first question, and several questions on it with their answers."""
    document = toy_world.make_document(rng)
    asked = toy_world.draw(rng, tuple(QUESTIONS), TURNS_PER_DOCUMENT - 2)
    turns = [QUESTIONS[name](rng, document) for name in asked]
    turns += [_width(rng, document), _repeat(rng, markup)]
    turns = toy_world.draw(rng, turns, len(turns))
    return [(f"{document.text}\n{turns[0][0]}", turns[0][1]), *turns[1:]]


def all_texts() -> list[str]:
    """Every text of the lessons: the vocabulary is read from it."""
    return [*FORMS.values(), *ANSWERS]


# ---------------------------------------------------------------------- one question each
def _subjects(_rng: Random, document: Document) -> Turn:
    return FORMS["subjects"], _lines(document.subjects)


def _next(rng: Random, document: Document) -> Turn:
    position = int(rng.random() * len(document.passages))
    following = (*document.subjects, "none")[position + 1]
    return FORMS["next"].format(document.subjects[position]), following


def _owner(rng: Random, document: Document) -> Turn:
    passage = toy_world.pick(rng, document.passages)
    return FORMS["owner"].format(toy_world.pick(rng, passage.words)), passage.subject


def _owners(rng: Random, _document: Document) -> Turn:
    words = toy_world.draw(rng, tuple(toy_world.SUBJECT_OF), 3)
    subjects = [toy_world.SUBJECT_OF[word] for word in words]
    return FORMS["owners"].format(" and ".join(words)), _lines(subjects)


def _in_lines(rng: Random, _document: Document) -> Turn:
    words = toy_world.draw(rng, (*toy_world.SUBJECTS, *toy_world.SUBJECT_OF), 4)
    return FORMS["lines"].format(" and ".join(words)), _lines(words)


def _words(rng: Random, document: Document) -> Turn:
    passage = toy_world.pick(rng, document.passages)
    return FORMS["words"].format(passage.subject), " and ".join(passage.words)


def _first_words(_rng: Random, document: Document) -> Turn:
    return FORMS["first_words"], _lines([passage.words[0] for passage in document.passages])


def _inner(_rng: Random, document: Document) -> Turn:
    inner = [passage.subject for passage in document.passages if passage.is_inner]
    return FORMS["inner"], _lines(inner) if inner else "none"


def _alone(rng: Random, document: Document) -> Turn:
    passage = toy_world.pick(rng, document.passages)
    return FORMS["alone"].format(passage.subject), "no" if passage.is_inner else "yes"


def _kind(_rng: Random, document: Document) -> Turn:
    return FORMS["kind"], document.summary


def _pairs(_rng: Random, document: Document) -> Turn:
    parts = [
        f"{'inside' if p.is_inner else 'and'} {p.subject} is {p.words[0]}"
        for p in document.passages
    ]
    return FORMS["pairs"], "; ".join(parts)


QUESTIONS: dict[str, Callable[[Random, Document], Turn]] = {
    "subjects": _subjects,
    "next": _next,
    "owner": _owner,
    "owners": _owners,
    "lines": _in_lines,
    "words": _words,
    "first_words": _first_words,
    "inner": _inner,
    "alone": _alone,
    "kind": _kind,
    "pairs": _pairs,
}


def _width(rng: Random, document: Document) -> Turn:
    if rng.random() < 0.2:
        question, answer = toy_world.ask_about_the_whole(rng, document.town), "all"
    else:
        words = toy_world.draw(rng, tuple(toy_world.SUBJECT_OF), 1 + int(rng.random() * 2))
        question = toy_world.ask(rng, document.town, words)
        answer = ("little", "much")[len(words) - 1]
    return FORMS["width"].format(question), answer


def _repeat(rng: Random, markup: Sequence[str]) -> Turn:
    """A run of random words and markup: it teaches copying, and every token's embedding."""
    words = (*toy_world.SUBJECTS, *toy_world.SUBJECT_OF)
    text, after_word = "", True
    for _ in range(3 + int(rng.random() * 6)):
        if rng.random() < 0.4:
            text, after_word = text + toy_world.pick(rng, markup), False
        else:
            gap = " " if after_word or rng.random() < 0.5 else ""
            text, after_word = text + gap + toy_world.pick(rng, words), True
    return FORMS["repeat"].format(text.strip()), text.strip()


def _lines(names: Sequence[str]) -> str:
    return "\n".join(names)
