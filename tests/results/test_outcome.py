import pytest

from agent.cluster.submit.plan import PointState, state_of
from agent.cluster.submit.status import SweepStatus, counts_of
from agent.results import pareto
from agent.results.comparable import families_of
from agent.results.outcome import Outcome, outcome_of
from agent.results.selection import select
from agent.results.study import examine
from agent.tracking.reader import RunFacts
from tests.results.known_table import run


@pytest.mark.parametrize(
    ("state", "tags", "values", "expected"),
    [
        ("finished", [], {}, Outcome.COMPLETE),
        ("finished", ["pruned"], {}, Outcome.PRUNED),
        ("finished", [], {"stopped/rung": 0}, Outcome.PRUNED),
        ("finished", ["diverged"], {}, Outcome.DIVERGED),
        ("finished", ["pruned", "diverged"], {}, Outcome.DIVERGED),
        ("finished", ["invalid"], {}, Outcome.INVALID),
        ("failed", ["invalid"], {}, Outcome.INVALID),
        ("finished", [" Invalid "], {}, Outcome.INVALID),
        ("finished", ["smaller passes"], {"stopped/reason": "x"}, Outcome.COMPLETE),
        ("pruned", [], {}, Outcome.PRUNED),
        ("pending", [], {}, Outcome.RUNNING),
        ("running", [], {"stopped/rung": 1}, Outcome.RUNNING),
        ("preempting", [], {}, Outcome.PREEMPTED),
        ("preempted", [], {}, Outcome.PREEMPTED),
        ("failed", [], {"stopped/rung": 1}, Outcome.FAILED),
        ("Killed", [], {}, Outcome.KILLED),
        ("odd", [], {}, Outcome.UNKNOWN),
    ],
)
def test_an_outcome_is_read_from_state_tags_and_summary(
    state: str, tags: list[str], values: dict[str, object], expected: Outcome
) -> None:
    assert outcome_of(state, tags, values) is expected


def test_only_complete_runs_are_complete() -> None:
    assert [outcome for outcome in Outcome if outcome.is_complete] == [Outcome.COMPLETE]
    assert not any(outcome.is_complete and outcome.is_cut_off for outcome in Outcome)


@pytest.mark.parametrize("tag", ["diverged", "invalid", "pruned"])
def test_a_tagged_run_is_never_chosen_and_never_on_the_front(tag: str) -> None:
    from dataclasses import replace

    best = run("full", 1e-3, 0.99, inference__avg_latency_ms_per_sample=1.0)
    tagged = replace(best, tags=frozenset({tag}))
    rows = [tagged, run("full", 1e-4, 0.5, inference__avg_latency_ms_per_sample=9.0)]
    (family,) = families_of(rows)
    (selection,) = select(family)
    assert selection.chosen is not None
    assert selection.chosen.rows == (rows[1],)
    (report,) = examine(rows).families
    assert report.compared_rows == (rows[1],)
    points = [(r.number("inference/avg_latency_ms_per_sample"), 0.0) for r in report.compared_rows]
    assert pareto.front(points, ("lower", "higher")) == (0,)


def test_status_and_plan_use_the_same_words() -> None:
    runs = [
        RunFacts("a", "a", "finished", "s", tags=("diverged",)),
        RunFacts("b", "b", "finished", "s"),
        RunFacts("c", "c", "finished", "s", summary={"stopped/rung": 1}),
        RunFacts("d", "d", "crashed", "s"),
        RunFacts("e", "e", "failed", "s", tags=("invalid",)),
    ]
    states = [PointState.DIVERGED, PointState.FINISHED, PointState.PRUNED]
    assert [state_of(r) for r in runs] == [*states, PointState.PARTIAL, PointState.FAILED]
    assert state_of(runs[0]).is_settled
    counts = counts_of(SweepStatus("s", "running", 5, runs))
    assert {k: v for k, v in counts.items() if v} == {
        "done": 1,
        "pruned": 1,
        "diverged": 1,
        "invalid": 1,
        "cut off": 1,
    }
    words = {PointState.FINISHED: "done", PointState.PARTIAL: "cut off", PointState.NEW: "waiting"}
    assert {state: state.value for state in words} == words
