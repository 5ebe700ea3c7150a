"""Known answers of every score, worked out from its definition by hand."""

import pytest

from agent.evaluation.scores import (
    headings,
    macro_f1,
    normalise,
    score_document_structuring,
    score_global_selection,
    score_qa,
    score_query_analysis,
    titles,
)


# ------------------------------------------------------------------ question answering
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Eiffel-Tower!", "eiffeltower"),
        ("a cat and an owl", "cat and owl"),
        ("Theatre", "theatre"),  # an article only as a whole word
        ("the", ""),
        ("...", ""),
        ("U.S.A.", "usa"),
        ("Cafe\u0301", "café"),
        ("12,5 %", "125"),
        ("“curly” – ‘it’s’…", "curly its"),  # typographic forms of ASCII punctuation
        ("¿qué?", "¿qué"),  # only ASCII punctuation, as in SQuAD
    ],
)
def test_normalisation_follows_squad(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("output", "golds", "f1", "exact", "substring"),
    [
        ("The Paris", ["paris"], 1, 1, 1),
        ("in Paris, France", ["Paris"], 0.5, 0, 1),  # precision 1/3, recall 1
        ("big red dog", ["small red cat dog"], 4 / 7, 0, 0),  # 2 in common of 3 and 4
        ("red red", ["red"], 2 / 3, 0, 1),  # a word counts as often as it stands there
        ("London", ["Paris", "London"], 1, 1, 1),
        ("London town", ["Paris", "old London town", "London"], 0.8, 0, 1),  # the best gold
        ("", ["Paris"], 0, 0, 0),  # an empty answer
        ("the", ["Paris"], 0, 0, 0),  # an answer that normalises to nothing
        ("Paris", ["the"], 0, 0, 0),  # a gold that normalises to nothing proves nothing
        ("", ["the"], 1, 1, 1),  # both normalise to nothing: they agree, as in SQuAD 2.0
        ("Paris", ["the", "Paris"], 1, 1, 1),
        ("yes", ["yes"], 1, 1, 1),
        ("yes it is", ["yes"], 0, 0, 1),  # guard: yes, no and noanswer count whole or not at all
        ("no", ["no way"], 0, 0, 0),
        ("noanswer", ["no answer"], 0, 0, 0),
        ("yes sir", ["yes", "yes sir"], 1, 1, 1),  # the guard holds for one gold, not for all
        ("東京都", ["東京"], 0.8, 0, 1),  # no spaces: 2 characters in common of 3 and 2
        ("大阪", ["東京"], 0, 0, 0),
        ("GPT東京", ["gpt 東京"], 1, 1, 1),
        ("臺北市。", ["臺北市"], 1, 1, 1),
        ("「臺北市」", ["臺北市"], 1, 1, 1),
        ("２０２４年", ["2024年"], 1, 1, 1),  # full-width digits
        ("the 東京", ["東京"], 0.8, 0, 1),  # no English articles in them: 2 of 3 and 2
        ("서울 시", ["서울시"], 1, 1, 1),
        ("“yes”", ["yes"], 1, 1, 1),
        ("กรุง", ["กรุงเทพ"], 8 / 11, 0, 0),  # Thai: 4 of 4 and 7
    ],
)
def test_question_answering(
    output: str, golds: list[str], f1: float, exact: float, substring: float
) -> None:
    score = score_qa(output, golds)
    assert score.f1 == pytest.approx(f1)
    assert (score.exact, score.substring) == (exact, substring)


# ------------------------------------------------------------------ query analysis
@pytest.mark.parametrize(
    ("output", "golds", "value"),
    [
        ("[Local]", ["[Local]"], 1),
        (" [local]\n", ["[Local]"], 1),
        ("[Global]", ["[Local]"], 0),
        ("Local", ["[Local]"], 0),  # the brackets belong to the answer
        ("[Local] because", ["[Local]"], 0),
        ("", ["[Local]"], 0),
        ("[Global]", ["[Local]", "[Global]"], 1),
    ],
)
def test_query_analysis_is_exact_match(output: str, golds: list[str], value: float) -> None:
    assert score_query_analysis(output, golds) == (value, value, None)


def test_macro_f1_weighs_a_rare_class_like_a_common_one() -> None:
    golds = ["[Local]"] * 9 + ["[Global]"]
    # Local: precision 9/10, recall 1: F1 18/19. Global: never said: 0.
    assert macro_f1(["[Local]"] * 10, golds) == pytest.approx((18 / 19 + 0) / 2)
    assert macro_f1(golds, golds) == 1.0
    assert macro_f1(["rubbish"] * 10, golds) == 0.0  # classes are those of the golds


# ------------------------------------------------------------------ document structuring
DOCUMENT = "<abstract>A.</abstract><section: Sea>x<sub-section: Fish>y<section: Land>z"


def test_headings_carry_their_level_and_section() -> None:
    assert headings(DOCUMENT) == [
        ("abstract", "", ""),
        ("section", "", "sea"),
        ("sub-section", "sea", "fish"),
        ("section", "", "land"),
    ]


@pytest.mark.parametrize(
    ("output", "f1", "exact"),
    [
        (DOCUMENT, 1, 1),
        (DOCUMENT.replace("x", "another text"), 1, 1),  # the text between does not count
        ("<section: Sea>", 2 / 5, 0),  # 1 in common of 1 and 4
        (DOCUMENT.replace("Fish", "Crabs"), 3 / 4, 0),
        # Fish under another section is another heading: 3 in common of 4 and 4.
        ("<abstract>A.</abstract><section: Sea><section: Land><sub-section: Fish>", 3 / 4, 0),
        ("<section: Sea>" * 4, 2 / 8, 0),  # said four times, counted once
        ("", 0, 0),
        ("plain text", 0, 0),
    ],
)
def test_document_structuring_is_f1_over_headings(output: str, f1: float, exact: float) -> None:
    score = score_document_structuring(output, [DOCUMENT])
    assert score.f1 == pytest.approx(f1)
    assert score.exact == exact


def test_two_documents_without_headings_agree() -> None:
    assert score_document_structuring("some text", ["other text"]) == (1.0, 0.0, None)


# ------------------------------------------------------------------ global selection
@pytest.mark.parametrize(
    ("output", "f1", "exact"),
    [
        ("['Sea', 'Land']", 1, 1),
        ('["land", "sea"]', 1, 1),  # a set: order, case and kind of quotes do not matter
        ("['Sea', 'Sea', 'Land']", 1, 1),
        ("['Sea']", 2 / 3, 0),
        ("['Sea', 'Sky']", 1 / 2, 0),
        ("[]", 0, 0),
        ("Sea, Land", 0, 0),  # no list
        ("['Sea', 3]", 0, 0),
        ("['Sea'", 2 / 3, 0),  # upstream repairs what is not whole
        ("", 0, 0),
        ("[" * 5000, 0, 0),
    ],
)
def test_global_selection_is_f1_over_the_set_of_titles(
    output: str, f1: float, exact: float
) -> None:
    score = score_global_selection(output, ["['Sea', 'Land']"])
    assert score.f1 == pytest.approx(f1)
    assert score.exact == exact


def test_choosing_nothing_is_right_when_nothing_is_to_be_chosen() -> None:
    assert score_global_selection("[]", ["[]"]) == (1.0, 1.0, None)
    assert score_global_selection("no list", ["[]"]) == (0.0, 0.0, None)


def test_no_code_in_an_answer_is_ever_run() -> None:
    assert titles("__import__('os').getcwd()") is None
