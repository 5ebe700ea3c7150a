"""Known answers of LongRefiner's two structured tasks, worked out by hand from the parsing rules of
its refiner.py: what the pipeline would not read does not score."""

import pytest

from agent.evaluation import scores
from agent.evaluation.document_structure import is_anchored, parts_of

TEXT = (
    "Marden is an old town near the northern sea. It was built on three hills.\n"
    "The harbour was opened in 1820 by the queen herself. Ships from five countries call there.\n"
    "Farms (mostly wheat) lie to the south of the town. The soil is dark and heavy.\n"
    "The mill by the river ground flour until 1950. It is a museum now."
)
ABSTRACT = "<abstract>Marden is an old town ... on three hills.</abstract>"
HARBOUR = "<section: Harbour>The harbour was opened ... countries call there.</section: Harbour>"
MILL = '<sub-section: "Mill">The mill by the ... a museum now.</sub-section: "Mill">'
FARMS = f"<section: Farms>Farms (mostly wheat) lie to the south{MILL}</section: Farms>"
GOLD = ABSTRACT + HARBOUR + FARMS  # four headings


def score(output: str, gold: str = GOLD) -> tuple[float, float]:
    found = scores.score("document_structuring", output, [gold], f"Structure it.\n{TEXT}")
    return round(found.f1, 4), found.exact


@pytest.mark.parametrize(
    ("output", "f1", "exact"),
    [
        (GOLD, 1.0, 1),
        (GOLD.replace("><", ">\n<"), 1.0, 1),
        (f"Here it is:\n{GOLD}\nDone.", 1.0, 1),
        (GOLD.replace("The harbour was opened ...", "Ships from five countries ..."), 0.8571, 0),
        (GOLD.replace("... countries call there", "... countries called there"), 0.8571, 0),
        # Tags that open only are not read.
        ("<abstract><section: Harbour><section: Farms><sub-section: Mill>", 0.0, 0),
        ("<abstract>Marden is an old town<section: Harbour>The harbour was opened", 0.0, 0),
        (ABSTRACT + HARBOUR.replace("</section: Harbour>", ""), 0.4, 0),
        (ABSTRACT + HARBOUR.replace("</section: Harbour>", "</section>"), 0.4, 0),
        (ABSTRACT + HARBOUR.replace("</section: Harbour>", "</section: Port>"), 0.4, 0),
        # Bodies that are not in the document are dropped with their titles.
        (
            GOLD.replace("The harbour was opened ... countries call there.", "It had a port."),
            0.8571,
            0,
        ),
        (GOLD.replace("Marden is an old town ... on three hills.", "A lovely town."), 0.8571, 0),
        (ABSTRACT + "<section: Harbour></section: Harbour>", 0.4, 0),
        ("First <section: Harbour> begins it, then </section: Harbour> ends it.", 0.0, 0),
        # A section lives by its sub-section's text.
        (GOLD.replace("Farms (mostly wheat) lie to the south", ""), 1.0, 1),
        (GOLD.replace("Farms (mostly wheat) lie to the south", "Fields everywhere"), 1.0, 1),
        # A sub-section's title stands in quotes, in both tags.
        # Else it is text of its section, which then is not found either.
        (GOLD.replace('"Mill"', "Mill"), 0.6667, 0),
        (GOLD.replace('</sub-section: "Mill">', "</sub-section: Mill>"), 0.6667, 0),
        (GOLD.replace(MILL, ""), 0.8571, 0),
        # A sub-section outside a section is in no part.
        (ABSTRACT + HARBOUR + MILL + FARMS.replace(MILL, ""), 0.8571, 0),
        # Titles: case and spaces do not count, other words do.
        (GOLD.replace("Harbour>", "HARBOUR>"), 1.0, 1),
        (GOLD.replace("section: Harbour>", "section: Port>"), 0.75, 0),
        # A title said twice is one section.
        (ABSTRACT + HARBOUR * 3 + FARMS, 1.0, 1),
        (ABSTRACT + FARMS + HARBOUR, 1.0, 0),  # another order
        (ABSTRACT, 0.4, 0),
        (HARBOUR, 0.4, 0),
        ("", 0.0, 0),
        (TEXT, 0.0, 0),
    ],
)
def test_document_structuring(output: str, f1: float, exact: float) -> None:
    assert score(output) == (f1, exact)


OPEN = "<abstract>Marden is an old town<section: Harbour>opened in 1820<section: Farms>The soil"
OPEN_WITH_MILL = OPEN + '<sub-section: "Mill">ground flour'  # four headings
BARE = "<abstract><section: Harbour><section: Farms>"


@pytest.mark.parametrize(
    ("output", "gold", "f1", "exact"),
    [
        (OPEN, OPEN, 1.0, 1),
        (OPEN_WITH_MILL, OPEN_WITH_MILL, 1.0, 1),
        (OPEN + "</section: Farms>", OPEN, 1.0, 1),
        (OPEN.replace("opened in 1820", "The harbour was"), OPEN, 1.0, 1),  # another true body
        (OPEN.replace("opened in 1820", "built by Romans"), OPEN, 0.8, 0),
        (OPEN.replace("opened in 1820", ""), OPEN, 0.8, 0),
        (OPEN.replace("Harbour>", "Port>"), OPEN, 0.6667, 0),
        (BARE, OPEN, 0.0, 0),
        (f"I open {BARE} and close them.", OPEN, 0.0, 0),
        (OPEN, OPEN_WITH_MILL, 0.8571, 0),
        (BARE, BARE, 1.0, 1),  # an outline is all there is
        # A document without sections closes its abstract.
        (ABSTRACT, ABSTRACT, 1.0, 1),
        ("<abstract>", ABSTRACT, 0.0, 0),
        ("<abstract>Marden is an old town", ABSTRACT, 0.0, 0),
        # Bodies that are in no document have to be the gold's own, between tags that close.
        (
            "<section: X>of another text</section: X>",
            "<section: X>of another text</section: X>",
            1,
            1,
        ),
        ("<section: X>", "<section: X>of another text</section: X>", 0.0, 0),
    ],
)
def test_golds_that_open_tags_only_and_other_rare_ones(
    output: str, gold: str, f1: float, exact: float
) -> None:
    assert score(output, gold) == (f1, exact)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("It was built on three hills.", True),
        ("It was built on four hills.", False),
        ("Marden is an old ... the northern sea.", True),
        ("The harbour was opened in 1820 by ... five countries call there.", True),  # four words
        ("Marden is an old ... call there.", False),  # `...` does not cross a line break
        ("nothing of it<br>The mill by the river", True),
        ("nothing of it\nnor of this", False),
        ("Farms () lie to the south", True),  # empty brackets hold anything
        ("", False),
    ],
)
def test_a_sketch_is_looked_for_in_the_document(body: str, found: bool) -> None:
    assert is_anchored(body, TEXT) is found


def test_parts_are_named_by_level_section_and_title() -> None:
    assert parts_of(GOLD, TEXT) == [
        ("abstract", "", ""),
        ("section", "", "harbour"),
        ("section", "", "farms"),
        ("sub-section", "farms", "mill"),
    ]


@pytest.mark.parametrize(
    ("output", "f1"),
    [
        ("['Sea', 'Land']", 1.0),
        ("['Sea', 'Land'].", 1.0),
        ("['Sea', 'Land'", 1.0),
        ('["Sea", "Land"]', 1.0),
        ("[Sea, Land]", 1.0),
        ("['Sea' 'Land']", 1.0),
        ("['sea', 'LAND',]", 1.0),
        ('```json\n["Sea", "Land"]\n```', 1.0),
        ("The titles are ['Sea', 'Land'] here.", 1.0),
        ('{"selected_titles": ["Sea", "Land"]}', 1.0),
        ("{'selected_titles': ['Sea', 'Land'", 1.0),
        ('[{"selected_titles": ["Sea", "Land"]}, {}]', 1.0),
        ('{"titles": ["Sea", "Land"]}', 0.0),
        ("['Sea']", 0.6667),
        ("['Sea', 'Sky', 'Land']", 0.8),
        ("['Sea', ['Land']]", 0.0),  # upstream fails on what is not text
        ("['Sea', 3]", 0.0),
        ("Sea, Land", 0.0),
        ("none", 0.0),
        ("[]", 0.0),
        ("{}", 0.0),
        ("'Sea'", 0.0),
        ("[" * 3000, 0.0),
    ],
)
def test_global_selection(output: str, f1: float) -> None:
    found = scores.score("global_selection", output, ["['Sea', 'Land']"], "")
    assert round(found.f1, 4) == f1
    assert found.exact == float(f1 == 1.0)
