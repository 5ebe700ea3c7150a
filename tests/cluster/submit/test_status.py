"""What `status --where` lists."""

from dataclasses import replace

import pytest

from agent.cluster.submit.status import Report, SweepStatus, picked
from agent.cluster.submit.status_text import as_json, status_lines
from agent.cluster.submit.task_stories import TaskStory
from agent.errors import ReportError
from agent.tracking.reader import RunFacts


def report() -> Report:
    runs = [
        RunFacts(
            "a", "first", "finished", "s1", {"learning_rate": "1e-4", "model_variant": "QLoRA"}
        ),
        RunFacts("b", "second", "running", "s1", {"learning_rate": 3e-4}),
        RunFacts("c", "third", "finished", "s1", {"learning_rate": 1e-3}, tags=("pruned",)),
    ]
    return Report([SweepStatus("me/p/s1", "RUNNING", 5, runs)])


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["first", "second", "third"]),
        ("learning_rate=0.0001", ["first"]),
        ("state:pruned", ["third"]),
        ("-state:pruned lr<1", ["first", "second"]),
        ("state:failed", []),
        ("sweep=s1 name:second", ["second"]),
    ],
)
def test_where_lists_the_runs_that_it_finds_and_counts_them_all(
    query: str, names: list[str]
) -> None:
    found = picked(report(), query)
    text = "\n".join(status_lines(found))
    assert [name for name in ("first", "second", "third") if name in text] == names
    assert "running of 5: 1 done, 1 running, 1 pruned, 2 waiting" in text
    sweeps = as_json(found)["sweeps"]
    assert isinstance(sweeps, list)
    assert [run["name"] for run in sweeps[0]["runs"]] == names


def test_a_wrong_where_is_refused() -> None:
    with pytest.raises(ReportError, match="no run has a key 'colour'"):
        picked(report(), "colour:red")


def test_a_reason_is_that_of_an_end_and_not_of_an_earlier_life() -> None:
    runs = [
        RunFacts(state, state, state, "s1", {}, {"stopped/reason": "no such column"})
        for state in ("finished", "running", "failed", "crashed")
    ]
    found = Report([SweepStatus("me/p/s1", "FINISHED", 4, runs)])
    text = "\n".join(status_lines(found))
    assert [line.strip() for line in text.splitlines() if "no such column" in line] == [
        "failed failed: no such column",
        "crashed cut off: no such column",
    ]


GRID = {"model_variant": "Full LoRA", "dataset": "team/data", "base_model": "team/model"}


def test_points_are_counted_and_not_the_runs_that_repeat_them() -> None:
    """As `plan` counts them: of several runs of a point the one that got furthest."""
    runs = [
        RunFacts(name, name, state, "s1", {**GRID, "learning_rate": rate})
        for name, state, rate in [
            ("a", "finished", 1e-4),
            ("b", "failed", "1e-4"),
            ("c", "finished", 2e-4),
            ("d", "finished", 2e-4),
        ]
    ]
    status = SweepStatus("me/p/s1", "PENDING", 3, runs)
    (line, *_) = status_lines(Report([status]))
    assert line == "me/p/s1  pending of 3: 2 done, 1 waiting; 2 more run(s) of the same points"
    search = replace(status, method="random")  # draws what it likes, and each run counts
    assert status_lines(Report([search]))[0] == "me/p/s1  pending of 3: 3 done, 1 failed"


def test_a_search_without_an_end_has_no_time_to_go() -> None:
    runs = [
        RunFacts("a", "a", "finished", "s1", summary={"_runtime": 60.0}),
        RunFacts("b", "b", "running", "s1"),
    ]
    task = TaskStory("12_0", "RUNNING", "n1")
    endless = SweepStatus("me/p/s1", "RUNNING", None, runs, method="random")
    capped = replace(endless, expected=3)
    found = Report([endless], [task])
    assert as_json(found)["expected_seconds"] is None
    text = "\n".join(status_lines(found))
    assert "to go" not in text
    assert "me/p/s1 has no end to estimate: without a run_cap it goes on until it is" in text
    text = "\n".join(status_lines(Report([capped], [task])))
    assert "about 1:30 to go" in text
    assert "no end" not in text


def test_a_sweep_of_another_server_hides_none_of_this_one() -> None:
    missing = SweepStatus("me/q/s2", "not found", None, [], missing_on="https://here")
    lines = status_lines(Report([missing, *report().sweeps]))
    assert lines[0] == "me/q/s2  not found on https://here: another server has it, or none"
    assert "me/p/s1  running of 5" in "\n".join(lines)


def test_the_log_of_a_task_that_failed_is_shown_until_its_points_are_done() -> None:
    failed = TaskStory("12_0", "FAILED", "n1", reason="its run failed", tail=("KeyError: 'x'",))
    for state, is_shown in (("failed", True), ("finished", False)):
        status = SweepStatus("me/p/s1", "FINISHED", 1, [RunFacts("a", "a", state, "s1")])
        text = "\n".join(status_lines(Report([status], [failed])))
        assert "12_0  FAILED  n1" in text
        assert ("KeyError" in text) is is_shown


def test_a_run_that_could_not_say_why_it_ended_is_explained_by_its_silence() -> None:
    runs = [RunFacts(state, state, state, "s1") for state in ("crashed", "preempted", "killed")]
    lines = status_lines(Report([SweepStatus("me/p/s1", "RUNNING", 3, runs)]))
    explained = [line.strip() for line in lines if "cut off: " in line]
    assert len(explained) == 1
    assert explained[0].startswith("crashed cut off: fell silent: its program was killed")
