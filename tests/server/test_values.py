"""One meaning per value: points, filters, orders and best runs compare numbers as numbers."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agent.config.values import digest_of
from agent.server.store.database import Database
from agent.server.store.filtering.matching import matches
from agent.server.store.tables import MIGRATIONS
from tests.server.server_lab import Lab


def made_run(lab: Lab, name: str, summary: dict[str, Any], **config: Any) -> None:
    """A finished run with a config and a summary, as a client sends them."""
    wrapped = {key: {"value": value} for key, value in config.items()}
    lab.init(name, config=json.dumps(wrapped))
    lab.finish(name, files={"wandb-summary.json": {"offset": 0, "content": [json.dumps(summary)]}})


def names(lab: Lab, filters: dict[str, Any] | None = None, order: str = "+name") -> list[str]:
    found = lab.ask(
        'query Q($f: JSONString, $o: String) {project(name: "p", entityName: "local") '
        "{runs(filters: $f, order: $o) {edges {node {name}}}}}",
        f=json.dumps(filters or {}),
        o=order,
    )
    return [edge["node"]["name"] for edge in found["project"]["runs"]["edges"]]


SUMMARIES: dict[str, Any] = {
    "a-nan": float("nan"),
    "b-infinite": float("inf"),
    "c-text": "9",
    "d-none": None,
    "e-small": 4,
    "f-float": 6.0,
    "g-large": 10.5,
    "h-kept": {"max": 9.5, "min": 1},
}


def with_summaries(lab: Lab) -> None:
    for name, value in SUMMARIES.items():
        made_run(lab, name, {"f1": value})
    made_run(lab, "i-missing", {})


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ({"$gt": 5}, ["f-float", "g-large", "h-kept"]),
        ({"$gte": 6}, ["f-float", "g-large", "h-kept"]),
        ({"$lt": 5}, ["e-small", "h-kept"]),
        ({"$lte": 4.0}, ["e-small", "h-kept"]),
        ({"$gt": 4, "$lt": 9}, ["f-float", "h-kept"]),
        ({"$gt": "8"}, ["a-nan", "b-infinite", "c-text"]),
        ({"$eq": 6}, ["f-float"]),
        ({"$in": [4.0, 6]}, ["e-small", "f-float"]),
        (float("nan"), ["a-nan"]),
        ({"$not": {"$gt": 5}}, ["a-nan", "b-infinite", "c-text", "d-none", "e-small", "i-missing"]),
    ],
)
def test_a_filter_compares_numbers_with_numbers(
    lab: Lab, condition: Any, wanted: list[str]
) -> None:
    with_summaries(lab)
    found = names(lab, {"summary_metrics.f1": condition})
    if condition == {"$gt": "8"}:  # text with text; how NaN is written there is W&B's affair
        assert "c-text" in found
        assert not set(found) & {"e-small", "f-float", "g-large", "i-missing"}
    else:
        assert found == wanted


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        (0.0002, ["float", "text"]),
        ({"$eq": 2e-4}, ["float", "text"]),
        ({"$in": [0.0002, "b"]}, ["float", "text"]),
        ({"$ne": 0.0002}, ["missing", "one", "word"]),
        ({"$nin": [0.0002, 1]}, ["missing", "word"]),
        ({"$gt": 1e-4, "$lt": 0.5}, ["float", "text"]),
        (1, ["one"]),
        ({"$eq": 1.0}, ["one"]),
        ("2e-4", ["text"]),
        (None, ["missing"]),
    ],
)
def test_a_filter_reads_numbers_of_a_config_in_every_form(
    lab: Lab, condition: Any, wanted: list[str]
) -> None:
    for name, value in {"text": "2e-4", "float": 0.0002, "one": 1, "word": "x1e4"}.items():
        made_run(lab, name, {}, rate=value)
    made_run(lab, "missing", {})
    assert names(lab, {"config.rate.value": condition}) == wanted
    assert names(lab, order="+config.rate.value")[:3] in (
        ["text", "float", "one"],
        ["float", "text", "one"],
    )


def test_an_order_has_numbers_first_and_reads_what_define_metric_keeps(lab: Lab) -> None:
    with_summaries(lab)
    made_run(lab, "j-kept", {"f1": {"max": 10.2}})
    down = ["g-large", "j-kept", "h-kept", "f-float", "e-small"]
    assert names(lab, order="-summary_metrics.f1")[:5] == down
    up = ["h-kept", "e-small", "f-float", "j-kept", "g-large"]
    assert names(lab, order="+summary_metrics.f1")[:5] == up


@pytest.mark.parametrize(
    ("tree", "fits"),
    [
        ({"n": {"$gt": 0}}, True),
        ({"flag": {"$gt": 0}}, False),
        ({"text": {"$gt": 0}}, False),
        ({"nan": {"$lt": 5}}, False),
        ({"n": True}, False),
        ({"n": 1.0}, True),
        ({"flag": {"$in": [1, 2]}}, False),
        ({"none": {"$lte": 3}}, False),
    ],
)
def test_a_filter_over_values_at_hand_does_the_same(tree: dict[str, Any], fits: bool) -> None:
    values = {"n": 1, "flag": True, "text": "9", "nan": float("nan"), "none": None}
    assert matches(tree, values) is fits


# ------------------------------------------------------------------ points and prior runs
PRIOR_GRID = """
method: grid
parameters:
  eval_every: {values: [1.0, 0.5]}
  rate: {values: [2e-4, 0.001]}
  note: {value: null}
  opt: {parameters: {eps: {value: 1.0}, names: {value: [a, 2.0]}}}
"""


@pytest.mark.parametrize(
    "config",
    [
        {"eval_every": 1, "rate": 0.0002, "note": None, "opt": {"eps": 1, "names": ["a", 2]}},
        {"eval_every": 1.0, "rate": "2e-4", "note": None, "opt": {"names": ["a", 2.0], "eps": 1.0}},
        {
            "note": None,
            "opt": {"eps": 1, "names": ["a", 2], "more": 7},
            "rate": 2e-4,
            "eval_every": 1e0,
            "other": 3,
        },
    ],
)
def test_a_prior_run_covers_its_point_however_its_numbers_are_written(
    lab: Lab, config: dict[str, Any]
) -> None:
    made_run(lab, "before", {}, **config)
    sweep = lab.make_sweep(PRIOR_GRID, priorRunsFilters='{"name": "before"}')
    agent = lab.make_agent(sweep)
    given = []
    for _ in range(3):
        (command,) = lab.beat(agent)
        given.append((command["args"]["eval_every"]["value"], command["args"]["rate"]["value"]))
        lab.init(command["run_id"])
        lab.finish(command["run_id"])
    assert (1.0, "2e-4") not in given
    assert len(set(given)) == 3
    assert lab.beat(agent) == [{"type": "exit"}]


def test_a_null_is_another_value_than_none_at_all(lab: Lab) -> None:
    made_run(lab, "before", {}, x=1)
    text = "method: grid\nparameters: {x: {value: 1}, y: {value: null}}"
    agent = lab.make_agent(lab.make_sweep(text, priorRunsFilters='{"name": "before"}'))
    assert lab.beat(agent)[0]["type"] == "run"


def test_every_prior_run_is_read_however_many_there_are(lab: Lab) -> None:
    lab.init("first")
    with lab.services.database.write() as connection:
        row = dict(connection.execute("SELECT * FROM run WHERE name = 'first'").fetchone())
        del row["id"]
        marks = ", ".join(f":{key}" for key in row)
        connection.executemany(
            f"INSERT INTO run ({', '.join(row)}) VALUES ({marks})",
            [
                {**row, "name": f"r{n}", "config": json.dumps({"x": {"value": float(n)}})}
                for n in range(2300)
            ],
        )
    text = f"method: grid\nparameters: {{x: {{values: {list(range(2301))}}}}}"
    agent = lab.make_agent(lab.make_sweep(text, priorRunsFilters="{}"))
    (command,) = lab.beat(agent)
    assert command["args"]["x"]["value"] == 2300


def test_points_of_an_older_data_directory_get_their_names_anew(tmp_path: Path) -> None:
    path = tmp_path / "server.db"
    older = MIGRATIONS[: next(i for i, text in enumerate(MIGRATIONS) if "prior_digest" in text)]
    Database(path, older).close()
    sweep = "method: grid\nparameters: {x: {values: [1.0, 2]}, y: {value: null}}"
    connection = sqlite3.connect(path)
    connection.executescript(f"""
        INSERT INTO project (id, entity, name, created_at, updated_at) VALUES (1, 'e', 'p', 0, 0);
        INSERT INTO sweep (id, project_id, name, config, state, created_at, updated_at)
            VALUES (1, 1, 's', '{sweep}', 'RUNNING', 0, 0);
        INSERT INTO point (sweep_id, run_name, config, digest, status)
            VALUES (1, 'a', '{{"x": 1.0, "y": null}}', 'of text', 'done');
        INSERT INTO run (id, project_id, name, state, display_name, config, created_at, updated_at,
            heartbeat_at) VALUES (1, 1, 'b', 'finished', 'b',
            '{{"x": {{"value": 2.0}}, "y": {{"value": null}}, "_wandb": {{}}}}', 0, 0, 0);
        INSERT INTO prior_run VALUES (1, 1, 'of text');
    """)
    connection.commit()
    connection.close()
    database = Database(path)
    with database.read() as rows:
        assert rows.execute("SELECT digest FROM point").fetchone()[0] == digest_of(
            {"y": None, "x": 1}
        )
        assert rows.execute("SELECT digest FROM prior_run").fetchone()[0] == digest_of(
            {"x": 2, "y": None}
        )
    database.close()
