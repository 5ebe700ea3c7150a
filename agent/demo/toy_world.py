"""The demo's small world: towns, the subjects a town is described by, and documents about them.

Both the demo data set and the base model's pre-training material are drawn from it, so the base
model knows the words, and the fine-tuning tasks bring only a new form of answer. Draws use nothing
but `Random.random`, the one method whose sequence Python guarantees across versions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")

# A subject's name never stands in a document; only its words do.
SUBJECTS: dict[str, tuple[str, str, str, str]] = {
    "food": ("bread", "soup", "cheese", "honey"),
    "music": ("drum", "flute", "song", "harp"),
    "trade": ("silk", "salt", "iron", "wool"),
    "climate": ("rain", "snow", "wind", "fog"),
    "law": ("judge", "court", "oath", "prison"),
    "schools": ("teacher", "book", "pupil", "lesson"),
    "wars": ("battle", "sword", "siege", "truce"),
    "roads": ("bridge", "cart", "tunnel", "gate"),
    "farms": ("wheat", "barley", "plough", "barn"),
    "temples": ("priest", "altar", "candle", "prayer"),
    "sports": ("race", "ball", "wrestler", "prize"),
    "art": ("paint", "statue", "mosaic", "carving"),
    "rivers": ("boat", "fish", "ferry", "mill"),
    "kings": ("crown", "throne", "palace", "heir"),
    "health": ("doctor", "herb", "fever", "bath"),
    "crafts": ("loom", "kiln", "anvil", "chisel"),
}
SUBJECT_OF = {word: subject for subject, words in SUBJECTS.items() for word in words}

_TOWNS = """
    arlen brin calder dorn elsby fenwick garth holm iden jarrow kelso lunt
    marden norby orrin pell quill rudd selby tarn ulver varn wick yarrow
"""
TOWNS = tuple(_TOWNS.split())
KINDS = ("an old", "a small", "a rich", "a quiet", "a proud", "a young")
PLACES = ("near the sea", "in the hills", "by a lake", "in the forest", "on the plain")

SENTENCES = (
    "visitors praise the {0} and the {1}.",
    "every year the {0} is paid for by the {1}.",
    "the {0} and the {1} are known to all.",
    "people speak of the {0} more than of the {1}.",
    "nobody forgets the {0} or the {1}.",
)
INNER_SENTENCE = "there, "  # opens a sentence that belongs inside the subject before it

NARROW_QUESTIONS = (
    "where is the {0} of {town}?",
    "who made the {0} of {town}?",
    "when did {town} get the {0}?",
    "what is the {0} of {town} like?",
    "how many people of {town} know the {0}?",
)
WIDE_QUESTIONS = (
    "how do the {0} and the {1} of {town} fit together?",
    "what do the {0} and the {1} tell about {town}?",
    "why are the {0} and the {1} known in {town}?",
)
WHOLE_QUESTIONS = (
    "what is {town} like as a whole?",
    "what do people say about {town}?",
    "how did {town} become what it is?",
)


@dataclass(frozen=True)
class Passage:
    """One sentence of a document: its subject, whether it lies inside the one before, its words."""

    subject: str
    is_inner: bool
    words: tuple[str, str]
    sentence: str


@dataclass(frozen=True)
class Document:
    town: str
    summary: str  # "an old town near the sea"
    passages: tuple[Passage, ...]

    @property
    def text(self) -> str:
        opening = f"{self.town} is {self.summary}."
        return " ".join([opening, *(passage.sentence for passage in self.passages)])

    @property
    def subjects(self) -> tuple[str, ...]:
        return tuple(passage.subject for passage in self.passages)


def all_texts() -> list[str]:
    """Every text of the world: the vocabulary is read from it."""
    words = [*SUBJECTS, *SUBJECT_OF, *TOWNS, *KINDS, "town", *PLACES, "is"]
    questions = [*NARROW_QUESTIONS, *WIDE_QUESTIONS, *WHOLE_QUESTIONS]
    return [*words, *SENTENCES, INNER_SENTENCE, *questions]


def pick(rng: Random, items: Sequence[T]) -> T:
    return items[int(rng.random() * len(items))]


def draw(rng: Random, items: Sequence[T], count: int) -> list[T]:
    """`count` different items in random order."""
    rest = list(items)
    return [rest.pop(int(rng.random() * len(rest))) for _ in range(count)]


def make_document(rng: Random) -> Document:
    """Three or four passages on different subjects; the first is never an inner one."""
    passages: list[Passage] = []
    for subject in draw(rng, tuple(SUBJECTS), 3 + int(rng.random() * 2)):
        first, second = draw(rng, SUBJECTS[subject], 2)
        is_inner = bool(passages) and rng.random() < 0.35
        sentence = pick(rng, SENTENCES).format(first, second)
        opening = INNER_SENTENCE if is_inner else ""
        passages.append(Passage(subject, is_inner, (first, second), opening + sentence))
    summary = f"{pick(rng, KINDS)} town {pick(rng, PLACES)}"
    return Document(pick(rng, TOWNS), summary, tuple(passages))


def ask(rng: Random, town: str, words: Sequence[str]) -> str:
    """A question on one word, or on how two words fit together."""
    forms = NARROW_QUESTIONS if len(words) == 1 else WIDE_QUESTIONS
    return pick(rng, forms).format(*words, town=town)


def ask_about_the_whole(rng: Random, town: str) -> str:
    return pick(rng, WHOLE_QUESTIONS).format(town=town)
