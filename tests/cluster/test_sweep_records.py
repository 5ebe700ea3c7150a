"""What was submitted before, and whether it still runs."""

from pathlib import Path

from agent.cluster.submit.submission import each_once
from agent.cluster.sweep_records import (
    SweepRecord,
    SweepRecords,
    earlier_submissions,
    name_points,
    notes_on_earlier,
)

SWEEP = {"method": "grid", "parameters": {"learning_rate": {"values": [1e-4, 2e-4]}}}


def test_points_are_known_by_what_they_run_not_by_their_file() -> None:
    same = {**SWEEP, "name": "other", "parameters": {"learning_rate": {"values": ["1e-4", 0.0002]}}}
    other = {**SWEEP, "parameters": {"learning_rate": {"values": [1e-4]}}}
    assert name_points(same) == name_points(SWEEP) != name_points(other)
    records = [
        SweepRecord("e/p/old", file="/study/a.yaml"),  # before points were recorded
        SweepRecord("e/p/new", file="/study/a.yaml", points=name_points(SWEEP)),
    ]
    a, b = Path("/study/a.yaml"), Path("/study/b.yaml")
    wanted = {a: name_points(other), b: name_points(same)}
    found = earlier_submissions(records, wanted)
    assert {path: record.sweep for path, record in found.items()} == {a: "e/p/old", b: "e/p/new"}
    assert earlier_submissions(records[1:], {a: name_points(other)}) == {}


def test_a_file_that_was_submitted_before_is_named_with_what_to_type_instead(
    tmp_path: Path,
) -> None:
    records = SweepRecords(tmp_path)
    records.save(SweepRecord("e/p/s", points=name_points(SWEEP)))
    records.add_job("e/p/s", "7", file="", snapshot="", log="")
    records.add_job("e/p/s", "8", file="", snapshot="", log="")
    path = Path("a.yaml")
    earlier = earlier_submissions(records.all(), {path: name_points(SWEEP)})
    (line,) = notes_on_earlier(earlier, ["8", "9"])
    assert "a.yaml was submitted as e/p/s (job 8 still works on it)" in line
    assert "`sweep-agent submit e/p/s` adds tasks" in line
    (line,) = notes_on_earlier(earlier, [])
    assert "a.yaml was submitted as e/p/s (no job works on it)" in line
    assert "`sweep-agent fill a.yaml`" in line


def test_a_file_that_is_named_twice_is_taken_once() -> None:
    names = [Path("a.yaml"), Path("b.yaml"), Path("a.yaml").absolute(), Path("./b.yaml")]
    assert each_once(names) == [Path("a.yaml"), Path("b.yaml")]
