"""Queries as people type them: how many runs each finds, or which word of it is wrong."""

import math
import random

import pytest

from agent.results.query.problems import QueryError
from agent.results.query.records import Record, record_of, record_of_row
from agent.results.query.search import Runs, find
from tests.results.known_table import known_rows, run


def known_runs() -> list[Record]:
    """Twenty runs: five variants at four learning rates, of which two were pruned."""
    return [record_of_row(row) for row in known_rows()]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 20),
        ("   ", 20),
        ("learning_rate=1e-4", 5),
        ("learning_rate = 0.0001", 5),
        ("learning_rate:1E-4", 5),
        ("lr==.0001", 5),
        ("config.learning_rate=1e-4", 5),
        ("LEARNING_RATE=1e-4", 5),
        ("learning_rate>=1e-3", 15),
        ("learning_rate > 0.001", 10),
        ("lr≥1e-3", 15),
        ("lr:1e-4..1e-3", 10),
        ("lr:5e-3..", 10),
        ("learning_rate!=1e-4", 15),
        ("variant=QLoRA int4", 4),
        ('variant="QLoRA int4"', 4),
        ("variant:'qlora int4'", 4),
        ("variant:“QLoRA int4”", 4),
        ("variant:QLoRA", 8),
        ("variant:int4", 8),
        ("variant=QLoRA", 0),
        ("variant:*ptq*", 8),
        ("variant=QLoRA int4 lr=1e-4", 1),
        ("state:pruned", 2),
        ("state!=pruned", 18),
        ("-state:pruned", 18),
        ("-pruned", 18),
        ("not pruned", 18),
        ("NOT state:pruned", 18),
        ("not not pruned", 2),
        ("state:done", 18),
        ("pruned lr=0.02", 2),
        ("lr=1e-4 or lr=1e-3", 10),
        ("lr=1e-4 OR lr=1e-3 variant:int4", 7),
        ("(lr=1e-4 or lr=1e-3) variant:int4", 4),
        ("-(lr=1e-4 or lr=1e-3)", 10),
        ("lr=1e-4 and state:finished", 5),
        ("lr=1e-4 | lr=1e-3", 10),
        ("qlora", 8),
        ("QLoRA INT8", 4),
        ('"full lora"', 4),
        ("qlora 0.0001", 2),
        ("final/validation_f1_score>=0.6", 4),
        ("summary.final/validation_f1_score>=0.6", 4),
        ("f1>=.6", 4),
        ("final f1 >= 0.6", 4),
        ("final validation f1 >= 0.6", 4),
        ("qlora f1>=0.6", 2),
        ("model size < 1", 8),
        ("no:final/validation_f1_score", 2),
        ("has:f1", 18),
        ("f1:*", 18),
        ("f1!=*", 2),
        ("f1=none", 2),
        ("nothing like this", 0),
        ("name:full*", 0),
        ("id:full-*", 4),
        ("id=full-0.0001-0", 1),
        ("project=demo", 20),
        ("seed=0.0", 20),
        ("seed:1", 0),
        ("state:pruned,finished", 20),
        ("lr:1e-4,1e-3", 10),
        ("lr!=1e-4,1e-3", 10),
        ("variant:int4,int8 lr=1e-4", 4),
        ('name:"a,b"', 0),
        ("lr:>=1e-3", 15),
        ("lr: > 1e-3", 10),
        ("lr:*..1e-4", 5),
        ("is:pruned", 2),
        ("config.learning_rate.value = 1e-4", 5),
        ("summary_metrics.final/validation_f1_score > 0.5", 4),
        ("!state:pruned", 18),
        ("NOT(state:pruned)", 18),
        ("state=finished && (lr<1e-3 || lr>5e-3)", 8),
    ],
)
def test_a_query_finds_what_it_says(query: str, count: int) -> None:
    assert len(find(query, known_runs()).places) == count


@pytest.mark.parametrize(
    ("query", "word", "said"),
    [
        ("learning_rat=1e-4", "learning_rat", "no run has a key 'learning_rat'"),
        ("state:pruned stat:x", "stat", "near: state"),
        ("lr>=1e-4 -colour:red", "colour", "no run has a key"),
        ("lr=abc", "abc", "learning_rate holds numbers, and 'abc' is not a number"),
        ("lr>=fast", "fast", "'fast', which is not a number"),
        ("state>3", "state", "holds texts, which have no order for '>'"),
        ("f1 score>0", "f1 score", "may mean validation/f1_score, test/f1_score"),
        ("lr:1e-4,fast", "1e-4,fast", "'fast' is not a number"),
        ("size_gb:x", "x", "inference/model_size_gb holds numbers"),
        ("lr=", "=", "a value is missing after '='"),
        ("lr >= ", ">=", "a value is missing after '>='"),
        ("=3", "=", "a key is missing before '='"),
        ("(lr=1e-4", "(", "not closed"),
        ("lr=1e-4)", ")", "closes nothing"),
        ("()", "(", "something is missing after this bracket"),
        ('variant:"QLoRA', '"QLoRA', "a quote is not closed"),
        ("pruned or", "or", "something is missing after 'or'"),
        ("or pruned", "or", "something is missing before 'or'"),
        ("pruned or or qlora", "or", "something is missing after 'or'"),
        ("not", "not", "something is missing after 'not'"),
        ("http://somewhere", "http", "no run has a key 'http'"),
        ("has:colour", "colour", "no run has a key 'colour'"),
        ("(" * 100 + "x" + ")" * 100, "(", "nested too deeply"),
    ],
)
def test_a_wrong_query_names_the_word_and_its_place(query: str, word: str, said: str) -> None:
    records = [*known_runs(), record_of({"validation/f1_score": 0.1, "test/f1_score": 0.1})]
    with pytest.raises(QueryError) as caught:
        find(query, records)
    assert said in str(caught.value)
    assert query[caught.value.start : caught.value.end] == word


def test_a_query_that_no_run_can_pass_says_what_there_is() -> None:
    for query, said in (
        ("state:prned", "no run has state 'prned'; there are finished, pruned"),
        ("variant=QLoRA", "no run has variant 'QLoRA'; there are Full LoRA, QLoRA int4"),
        ("lr>1", "no run has learning_rate > '1'; there are 0.0001, 0.001, 0.005, 0.02"),
        ("best f1>0.5", "no run has a value of best/validation_f1_score yet"),
        ("f1>0.9", "there are 10 values from 0.05 to 0.8"),
    ):
        found = find(query, known_runs())
        assert not found.places
        assert said in found.notes[0], query
    assert find("state:pruned", known_runs()).notes == ()


def test_values_of_any_kind_are_compared() -> None:
    records = [
        record_of(values)
        for values in (
            {"x": math.nan},
            {"x": math.inf},
            {"x": 10**400},
            {"x": -0.0},
            {"x": True},
            {"x": "1e-4"},
            {"x": 0.695312},
            {"x": 7},
            {"y": "a.b[c]?*"},
        )
    ]
    counts = {
        "x=nan": 1,
        "x=inf": 1,
        "x>1e300": 2,
        f"x={10**400}": 1,
        f"x={'1' + '0' * 399}": 0,
        "x=0": 1,
        "x:true": 1,
        "x=0.0001": 1,
        "x<=1e-4": 2,
        "x=0.6953": 1,
        "x=0.695": 0,
        "x=0.69531": 1,
        "no:x": 1,
        'y="a.b[c]?*"': 1,
        "y:c": 1,
        "y=a.b[*": 1,
        "y=a?b*": 0,
    }
    assert {query: len(find(query, records).places) for query in counts} == counts


def test_a_key_with_signs_or_spaces_goes_into_quotes() -> None:
    records = [record_of({"loss: val": 1.0, "a=b": 2, "-x": 3}), record_of({"loss: val": 2.0})]
    assert find('"loss: val"<1.5', records).places == (0,)
    assert find('"a=b":2', records).places == (0,)
    assert find('"-x"=3', records).places == (0,)


def test_a_config_key_of_the_same_name_as_a_summary_key_keeps_its_origin() -> None:
    origins = {"acc": "summary", "config.acc": "config", "only": "config"}
    records = [Record({"acc": 1, "config.acc": 2, "only": 3}, "", origins)]
    assert find("acc=1 summary.acc=1 config.acc=2 config.only=3", records).places == (0,)
    with pytest.raises(QueryError, match=r"no run has a key 'summary.only'"):
        find("summary.only=3", records)


def test_moments_and_durations_are_typed_as_people_write_them() -> None:
    records = [record_of({"created": 1_767_225_600, "duration_s": 700})]  # 2026-01-01, UTC
    for query in ("created>=2026-01-01", "created<2026-01-02T10:00", "duration>10min"):
        assert find(query, records).places == (0,), query
    assert find("duration_s>1h", records).places == ()


def test_a_run_without_the_key_is_unlike_any_value() -> None:
    records = [record_of({"tags": "night, gpu"}), record_of({"name": "b"})]
    assert find("tags!=night", records).places == (0, 1)
    assert find("tags:night", records).places == (0,)
    assert find("-tags:night", records).places == (1,)


def test_the_state_in_a_report_is_how_the_run_ended() -> None:
    diverged = run("full", 1e-3, 0.1, tags="x")
    assert record_of_row(diverged).values["state"] == "finished"
    assert record_of_row(diverged).values["variant"] == "Full LoRA"


def problem_of(query: str, runs: Runs) -> QueryError | None:
    try:
        runs.find(query)
    except QueryError as error:
        return error
    return None


def test_no_text_makes_anything_but_an_answer_or_a_placed_problem() -> None:
    """Texts from the pieces of the language and from all of Unicode."""
    rng = random.Random(7)
    pieces = [
        *("lr", "state", "variant", "f1", "best f1", "x", "no", "has", "config.", "created"),
        *(":", "=", "!=", ">=", "<", "(", ")", '"', "'", "“", "-", "!", "or", "and", "not", "|"),
        *(
            "1e-4",
            "nan",
            "inf",
            "-1e999",
            "*",
            "..",
            "\\",
            " ",
            "  ",
            "\n",
            "\t",
            "10min",
            "é",
            "𝒳",
        ),
        *("\x00", "\ud800", "İ", "[", "]", "?", "2026-01-01", "1" * 500),
    ]
    runs = Runs(known_runs())
    for _ in range(3000):
        parts = [
            rng.choice(pieces) if rng.random() < 0.9 else chr(rng.randrange(0x3000))
            for _ in range(rng.randrange(12))
        ]
        query = "".join(part + rng.choice(("", " ")) for part in parts)
        problem = problem_of(query, runs)
        if problem is not None:
            assert 0 <= problem.start <= problem.end <= len(query), query
            assert problem.problem.isprintable(), query
    with pytest.raises(QueryError, match="at most 2000 are read"):
        runs.find("x" * 2001)
