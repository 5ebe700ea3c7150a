"""Document structuring as LongRefiner's own parser reads it (github.com/ignorejjj/LongRefiner).

`parse_xml_doc` takes `<abstract>…</abstract>`, `<section: T>…</section: T>` and, inside a section,
`<sub-section: "T">…</sub-section: "T">`, each with its own closing tag. A body is a sketch of a
passage: its lines (or parts between `<br>`) are looked for in the document, one after the other,
where `...` stands for anything between the four words before and the four words after it. A part
of which nothing is found has no text, and the pipeline drops it.
"""

import re

Heading = tuple[str, str, str]  # level, section it belongs to, title

_PARTS = re.compile(r"<abstract>(.*?)</abstract>|<section: (.*?)>(.*?)</section: \2>", re.DOTALL)
_INNER = re.compile(r'<sub-section: "([^"]+)">(.*?)</sub-section: "\1">', re.DOTALL)
_OPEN = re.compile(r"<(abstract|section|sub-section)(?::\s*([^>]*))?>([^<]*)", re.IGNORECASE)
_ANCHOR_WORDS = 4


def closes_tags(text: str) -> bool:
    """True when the parser reads a section of `text`, or its abstract where it opens no section."""
    levels = {"section" if name else "abstract" for _, name, _ in _PARTS.findall(text)}
    return "section" in levels or (bool(levels) and "<section:" not in text)


def open_parts_of(text: str, document: str) -> list[Heading]:
    """The parts of a markup without closing tags, each title once: a body reaches to the next tag,
    and a part of which nothing is found in the document is dropped."""
    found: dict[Heading, None] = {}
    section = ""
    for level, name, body in _OPEN.findall(text):
        level, title = level.lower(), _title(name)
        if level == "section":
            section = title
        if is_anchored(body.strip(), document):
            found[level, section if level == "sub-section" else "", title] = None
    return list(found)


def parts_of(text: str, document: str) -> list[Heading]:
    """The parts that the pipeline would get from `text` about `document`, each title once.

    A section counts when its own text or that of one of its sub-sections is found.
    """
    found: dict[Heading, None] = {}
    for abstract, name, body in _PARTS.findall(text):
        if not name:
            if is_anchored(abstract.strip(), document):
                found["abstract", "", ""] = None
            continue
        section = _title(name)
        inner = [
            ("sub-section", section, _title(title))
            for title, content in _INNER.findall(body)
            if is_anchored(content.strip(), document)
        ]
        own = _INNER.sub("", body).strip()
        if inner or is_anchored(own, document):
            found["section", "", section] = None
        found.update(dict.fromkeys(inner))
    return list(found)


def is_anchored(body: str, document: str) -> bool:
    """True when at least one line of a body's sketch is found in the document."""
    rest = document
    is_found = False
    for line in (part.strip() for part in body.split("<br>" if "<br>" in body else "\n")):
        if line and (passage := _find(line, rest)):
            is_found = True
            rest = rest[rest.find(passage) + len(passage) :]
    return is_found


def _find(line: str, document: str) -> str | None:
    """The passage that one line of a sketch stands for: the last one that fits, on one line."""
    if "..." in line:
        before, after = line.split("...")[:2]
        words = before.split(" ")[:_ANCHOR_WORDS], after.split(" ")[-_ANCHOR_WORDS:]
        line = "...".join(" ".join(part) for part in words)
    pattern = re.escape(line).replace(r"\(\)", r"\(.*?\)").replace(r"\.\.\.", ".*?")
    passages = [match.group() for match in re.finditer(pattern, document) if match.group()]
    return passages[-1] if passages else None


def _title(text: str) -> str:
    return " ".join(text.split()).lower()
