"""The filter of the pages: one request answers with runs, counts and what may be typed next."""

from typing import Any
from urllib.parse import quote

from tests.server.pages_reader import HOSTILE, data, make_run, see
from tests.server.server_lab import Lab


def ask(lab: Lab, query: str, where: str = "/local/p", **more: object) -> dict[str, Any]:
    extra = "".join(f"&{key}={value}" for key, value in more.items())
    return data(lab, f"{where}/filter?q={quote(query)}{extra}")


def test_one_request_answers_ids_counts_and_completion(lab: Lab) -> None:
    cell = {"model_variant": "QLoRA", "quantization_strategy": "int4"}
    make_run(lab, "a", learning_rate=1e-4, **cell)
    make_run(lab, "b", learning_rate=3e-4, **cell)
    make_run(lab, "c", learning_rate=0.0001, model_variant="Full LoRA")
    for query, ids in {
        "": ["c", "b", "a"],
        "learning_rate=1e-4": ["c", "a"],
        "variant=QLoRA int4": ["b", "a"],
        "-variant:int4": ["c"],
        "lr>1e-4 or variant:Full": ["c", "b"],
        "config.model_variant:QLoRA summary.odd=2": ["b", "a"],
        "name=b": ["b"],
    }.items():
        found = ask(lab, query)
        assert (found["ids"], found["count"], found["total"]) == (ids, len(ids), 3), query
        assert found["problem"] is None
    assert ask(lab, "lr=1e-4")["states"] == {"finished": 2}
    assert ask(lab, "lr=1e-4")["places"] == [0, 2]
    offered = ask(lab, "variant:q", at=9)["completion"]
    assert (offered["kind"], offered["start"], offered["end"]) == ("value", 8, 9)
    assert offered["candidates"][0] == {"insert": '"QLoRA int4"', "label": "QLoRA int4", "count": 2}


def test_a_wrong_word_is_named_with_its_place_and_what_is_near(lab: Lab) -> None:
    make_run(lab, "a", learning_rate=1e-4)
    found = ask(lab, "odd=2 learning_rat=1e-4")
    assert found["problem"] == {
        "text": "no run has a key 'learning_rat'",
        "start": 6,
        "end": 18,
        "near": ["learning_rate"],
    }
    assert (found["ids"], found["count"]) == ([], 0)
    assert ask(lab, "state:prned")["notes"] == ["no run has state 'prned'; there is finished"]
    page = see(lab, f"/local/p?q={quote('learning_rat=1e-4')}")
    assert "no run has a key &#39;learning_rat&#39;" in page
    assert "near: learning_rate" in page


def test_hostile_queries_are_texts(lab: Lab) -> None:
    make_run(lab, "a", learning_rate=1e-4)
    for query in (HOSTILE, "(" * 500, '"', "\x00", "x" * 5000, "lr:" + "*a" * 300):
        found = ask(lab, query)
        assert found["count"] == 0
    page = see(lab, f"/local/p?q={quote(HOSTILE)}")
    assert HOSTILE not in page


def test_the_points_of_a_sweep_are_filtered_alike(lab: Lab) -> None:
    sweep = lab.make_sweep()
    where = f"/local/p/sweeps/{sweep['name']}"
    shown = data(lab, f"{where}/data")
    total = shown["total"]
    assert ask(lab, "", where)["count"] == total
    assert ask(lab, "state:waiting", where)["places"] == list(range(total))
    assert ask(lab, "-state:waiting", where)["count"] == 0
    key = shown["keys"][0]
    assert ask(lab, f"{key}:nothing-like-it", where)["count"] == 0
    assert ask(lab, "nokey:1", where)["problem"]["text"] == "no run has a key 'nokey'"
