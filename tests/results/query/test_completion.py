"""What a query's field offers at its cursor."""

import random

import pytest

from agent.results.query.completion import complete
from agent.results.query.records import record_of, record_of_row
from agent.results.query.search import Runs, find
from tests.results.known_table import known_rows

RUNS = Runs([record_of_row(row) for row in known_rows()])


@pytest.mark.parametrize(
    ("query", "kind", "replaced", "first"),
    [
        ("", "key", "", "model_variant:"),
        ("learn", "key", "learn", "learning_rate:"),
        ("state:pruned lea", "key", "lea", "learning_rate:"),
        ("(vari", "key", "vari", "variant:"),
        ("-sta", "key", "sta", "state:"),
        ("validation_f1", "key", "validation_f1", "final/validation_f1_score:"),
        ("state:", "value", "", "finished"),
        ("state:p", "value", "p", "pruned"),
        ("state!=fin", "value", "fin", "finished"),
        ("variant:ql", "value", "ql", '"QLoRA int4"'),
        ('variant:"QLoRA int', "value", '"QLoRA int', '"QLoRA int4"'),
        ("lr=", "value", "", "0.0001"),
        ("qlora state: ", "value", "", "finished"),
    ],
)
def test_the_likeliest_comes_first(query: str, kind: str, replaced: str, first: str) -> None:
    found = complete(query, len(query), RUNS)
    assert (found.kind, query[found.start : found.end]) == (kind, replaced)
    assert found.candidates[0].insert == first


def test_values_come_with_how_many_runs_have_them() -> None:
    found = complete("state:", 6, RUNS)
    assert [(c.insert, c.count) for c in found.candidates] == [("finished", 18), ("pruned", 2)]


def test_the_cursor_may_stand_inside_the_query() -> None:
    found = complete("sta learning_rate=1", 3, RUNS)
    assert (found.start, found.end, found.candidates[0].insert) == (0, 3, "state:")


def test_whatever_is_offered_is_read_back_as_it_was_meant() -> None:
    values = ("a b", 'say "x"', "back\\slash", "or", "-x", "(y", "a:b", "c=d", "“q”", "", "é|")
    runs = Runs([record_of({"odd key: 1": value, "n": i}) for i, value in enumerate(values)])
    key = complete("odd", 3, runs).candidates[0].insert
    for place, value in enumerate(values):
        offered = [c for c in complete(key, len(key), runs).candidates if c.label == value]
        query = key[:-1] + "=" + offered[0].insert
        assert find(query, runs.records).places == (place,), query


def test_completion_never_fails() -> None:
    rng = random.Random(3)
    pieces = ("lr", "state", ":", ">=", '"', "'", "(", ")", "-", "or", " ", "\\", "x", "1e-4")
    for _ in range(2000):
        query = "".join(rng.choice(pieces) for _ in range(rng.randrange(10)))
        cursor = rng.randrange(-1, len(query) + 3)
        found = complete(query, cursor, RUNS)
        assert 0 <= found.start <= found.end <= len(query)
