"""What `status --where` lists."""

import pytest

from agent.cluster.submit.status import Report, SweepStatus, as_json, picked, status_lines
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
