"""Ten documents in the form of LongRefiner's own `step2_doc-structuring.json`: as long as the ten
samples that its authors publish, their answers as long as theirs, the words made up."""

from random import Random

# Words of prompt and answer of each published sample.
LENGTHS = (
    (2129, 345),
    (5004, 810),
    (4953, 614),
    (2079, 382),
    (1416, 208),
    (545, 68),
    (1927, 223),
    (3609, 472),
    (3827, 611),
    (260, 37),
)
INSTRUCTION = "Divide the following long text into well-structured, appropriately sized chapters."
_PARTS = ("am", "bel", "cor", "dun", "eth", "fal", "gor", "hin", "isk", "jor", "kel", "lum", "mor")
_WORDS_OF_A_SKETCH = 12  # six at the beginning of a paragraph, six at its end
_PARAGRAPHS_OF_A_PART = 3


def make_samples() -> list[dict[str, str]]:
    """The records, the same ones at each call."""
    return [make_sample(number, *lengths) for number, lengths in enumerate(LENGTHS)]


def make_sample(seed: int, words: int, answer_words: int) -> dict[str, str]:
    """A document of so many words and its outline: abstract, sections, each second one with a
    sub-section, and of every paragraph the beginning and the end."""
    rng = Random(seed)
    paragraphs = max(2, answer_words // _WORDS_OF_A_SKETCH)
    size = max(_WORDS_OF_A_SKETCH, words // paragraphs)
    texts = [_sentence(rng, size) for _ in range(paragraphs)]
    parts = [
        texts[i : i + _PARAGRAPHS_OF_A_PART] for i in range(0, len(texts), _PARAGRAPHS_OF_A_PART)
    ]
    outline = f"<abstract>{_sketches(parts[0])}</abstract>"
    for number, part in enumerate(parts[1:], 1):
        title, inner = f"Chapter {number}", ""
        if number % 2 == 0 and len(part) > 1:
            name = f"Aside {number}"
            inner = f"<sub-section: {name}>{_sketches(part[1:])}</sub-section: {name}>"
            part = part[:1]
        outline += f"<section: {title}>{_sketches(part)}{inner}</section: {title}>"
    return {"instruction": INSTRUCTION, "input": "\n".join(texts), "output": outline}


def _sentence(rng: Random, count: int) -> str:
    words = ["".join(rng.choice(_PARTS) for _ in range(rng.randint(1, 3))) for _ in range(count)]
    return f"{words[0].capitalize()} {' '.join(words[1:])}."


def _sketches(texts: list[str]) -> str:
    half = _WORDS_OF_A_SKETCH // 2
    ends = [(text.split()[:half], text.split()[-half:]) for text in texts]
    return "<br>".join(f"{' '.join(first)}... {' '.join(last)}" for first, last in ends)
