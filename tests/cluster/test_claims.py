"""Claims survive the task that made them, and are taken back only when no other will."""

from pathlib import Path

import pytest

from agent.cluster.claims import SILENT_S, Claim, ClaimFile, claim_of, takes_back
from agent.cluster.processes import GridPointProcess
from agent.tracking.run_states import RunState

CLAIM = Claim("run1", "me/study/abc", ("python", "train.py"), "/code", {"WANDB_RUN_ID": "run1"}, 1)


def test_a_claim_is_there_in_the_next_life(tmp_path: Path) -> None:
    ClaimFile(tmp_path / "tasks" / "12_3-0.json").add(CLAIM)
    again = ClaimFile(tmp_path / "tasks" / "12_3-0.json")
    assert again.open_claims() == [CLAIM]
    assert again.open_claims("other/sweep/x") == []
    again.drop(["run1"])
    assert ClaimFile(tmp_path / "tasks" / "12_3-0.json").open_claims() == []


def test_a_torn_claim_file_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "12.json").write_text('[{"run_id": "a"')
    assert ClaimFile(tmp_path / "12.json").open_claims() == []


def test_a_claim_never_holds_the_key() -> None:
    process = GridPointProcess(
        7,
        "run1",
        "abc",
        ("python", "train.py"),
        {"WANDB_RUN_ID": "run1", "WANDB_API_KEY": "canary", "PATH": "/bin"},
        "/code",
    )
    assert claim_of(process, "me/study/abc") == CLAIM
    assert "canary" not in repr(process)


@pytest.mark.parametrize(
    ("state", "silent_s", "embedded", "attempts", "expected"),
    [
        ("finished", 0, False, 1, False),
        ("failed", 0, False, 1, False),
        ("killed", 0, False, 1, False),  # a person stopped it
        ("preempted", 0, False, 1, False),  # the server hands it out, before new points
        ("running", 10, False, 1, False),  # lives, as an orphan or elsewhere
        ("running", SILENT_S, False, 1, True),
        ("running", SILENT_S, True, 1, True),
        ("crashed", 999, False, 1, True),  # W&B never hands these out again
        ("crashed", 999, True, 1, False),  # the embedded server does
        ("crashed", 999, False, 3, False),
    ],
)
def test_only_what_no_other_will_run_is_taken_back(
    state: str, silent_s: float, embedded: bool, attempts: int, expected: bool
) -> None:
    claim = Claim("run1", "me/study/abc", (), "", {}, attempts)
    assert expected is takes_back(
        claim,
        RunState(state, silent_s),
        server_hands_out_crashed=embedded,
        max_attempts=3,
    )


def test_a_run_the_server_cannot_be_asked_about_is_left_alone() -> None:
    assert not takes_back(CLAIM, None, server_hands_out_crashed=False, max_attempts=3)
