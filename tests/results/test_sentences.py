from agent.results.intervals import Interval
from agent.results.retention import Retention
from agent.results.sentences import opening_sentence, percent, variant_sentence
from agent.results.study import examine
from tests.results.known_table import known_rows, run


def _kept(low: float, value: float, high: float, seeds: int = 3, n: int = 500) -> Retention:
    return Retention(value, Interval(low, high, n, seeds, n), seeds=seeds)


def test_a_variant_in_one_sentence() -> None:
    said = variant_sentence("QLoRA int4", _kept(0.93, 0.96, 0.99), "test F1", 0.41, 0.87)
    assert said == (
        "QLoRA int4 keeps 96 % [93, 99] of Full LoRA's test F1 at 0.41 of its size and 0.87 of its "
        "training memory; n = 500, 3 seeds"
    )


def test_one_seed_is_said_and_so_are_sources() -> None:
    found = Retention(0.96, Interval(0.93, 0.99, 500, 1, 50), seeds=1)
    assert variant_sentence("QLoRA int4", found, "test F1") == (
        "QLoRA int4 keeps 96 % [93, 99] of Full LoRA's test F1; n = 500 in 50 sources, one seed: "
        "training noise not included"
    )


def test_without_example_scores_there_is_no_interval_and_it_is_said() -> None:
    said = variant_sentence("QLoRA int4", Retention(0.5, seeds=2), "test F1", size=0.5)
    assert said == (
        "QLoRA int4 keeps 50 % of Full LoRA's test F1 at 0.50 of its size; no per-example scores, "
        "so no interval, 2 seeds"
    )
    blank = Retention(note="no complete run")
    assert variant_sentence("QLoRA int4", blank, "test F1") == (
        "QLoRA int4: no retention (no complete run)"
    )


def test_a_narrow_interval_gets_a_decimal() -> None:
    assert percent(_kept(0.981, 0.988, 0.994)) == "98.8 % [98.1, 99.4]"


def test_the_opening_says_when_nothing_is_resolved() -> None:
    one = {"QLoRA int4": _kept(0.9, 0.96, 1.02, 1, 60), "QLoRA int8": _kept(0.5, 0.6, 0.7, 1, 60)}
    assert opening_sentence(one) == (
        "At n = 60 and one seed no difference between the variants is established."
    )


def test_the_opening_names_what_is_resolved_and_what_is_not() -> None:
    found = {
        "QLoRA int4": _kept(0.93, 0.96, 0.99),
        "QLoRA int8": _kept(0.96, 0.99, 1.02),
        "LoRA+PTQ int4": _kept(0.86, 0.90, 0.94),
    }
    assert opening_sentence(found, "epochs = 3") == (
        "epochs = 3: At n = 500 and 3 seeds QLoRA int4 keeps 96 % [93, 99] and LoRA+PTQ int4 keeps "
        "90 % [86, 94] of Full LoRA's score: established; no difference from Full LoRA is "
        "established for QLoRA int8 (99 % [96, 102])."
    )


def test_the_opening_says_why_nothing_can_be_compared() -> None:
    assert opening_sentence({"QLoRA int4": Retention(note="no complete Full LoRA run")}) == (
        "Nothing can be compared with Full LoRA: no complete Full LoRA run."
    )
    assert opening_sentence({"QLoRA int4": Retention(0.9, seeds=3)}) == (
        "Without per-example scores, with 3 seeds, no difference between the variants is "
        "established."
    )


def test_a_study_opens_with_it_and_has_one_sentence_per_variant() -> None:
    study = examine(known_rows())
    assert study.headline == (
        "Without per-example scores, with one seed, no difference between the variants is "
        "established.",
    )
    assert len(study.sentences) == 4
    assert study.sentences[0].startswith(
        "QLoRA int4 keeps 75 % of Full LoRA's final validation F1 at 0.25 of its size"
    )


def test_sentences_name_their_family_where_there_are_several() -> None:
    rows = [run(cell, 1e-3, 0.5, epochs=e) for e in (1, 3) for cell in ("full", "qlora4")]
    study = examine(rows)
    assert [said.split(":")[0] for said in study.sentences] == ["epochs = 1", "epochs = 3"]
    assert [said.split(":")[0] for said in study.headline] == ["epochs = 1", "epochs = 3"]


def test_a_study_without_full_lora_says_so() -> None:
    (headline,) = examine([run("qlora4", 1e-3, 0.5)]).headline
    assert headline == "Nothing can be compared with Full LoRA: no complete Full LoRA run."
