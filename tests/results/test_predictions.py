"""Lines of JSON end at a newline only: an answer may hold the separators of Unicode."""

import json
from pathlib import Path

import pytest

from agent.results.noise import aligned
from agent.results.run_table import with_predictions
from agent.server.pages.run import read_records
from tests.results.known_table import run

ODD = "\u2028 \u2029 \x85 \x1c \x0b \x0c"


def _lines() -> str:
    records = [{"example_id": str(i), "score": i / 2, "output": f"a{ODD}b"} for i in range(3)]
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def test_the_report_reads_answers_with_unicode_separators() -> None:
    row = with_predictions(run("full", 1e-3, 0.5), _lines())
    assert row.scores["validation"] == {"0": 0.0, "1": 0.5, "2": 1.0}


def test_the_page_of_a_run_reads_them_too() -> None:
    records = read_records(_lines().encode())
    assert [record["score"] for record in records] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    "folder", ["results", "tracking", "evaluation", "training", "search", "cluster", "server"]
)
def test_no_reader_of_json_lines_splits_at_unicode_separators(folder: str) -> None:
    root = Path(__file__).resolve().parents[2] / "agent" / folder
    found = [
        path.name
        for path in root.rglob("*.py")
        for line in path.read_text(encoding="utf-8").split("\n")
        if "json.loads(line) for line in" in line and "splitlines" in line
    ]
    assert found == []


def test_the_source_of_an_example_makes_a_cluster_within_its_data_set() -> None:
    records = [
        {"example_id": str(i), "dataset": d, "score": 1.0, "source": "7", "prompt_hash": f"{d}{i}"}
        for d in ("nq", "hotpot")
        for i in range(4)
    ]
    text = "".join(json.dumps(record) + "\n" for record in records)
    row = with_predictions(run("full", 1e-3, 1.0), text)
    sides = aligned([row], [row], "final/validation_f1_score", "validation")
    assert sides is not None
    assert (sides.examples, sides.cluster_count) == (8, 2)
