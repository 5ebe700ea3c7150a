"""A server that was away itself holds no agent or run for silent."""

from pathlib import Path

import pytest

from agent.server.store.claims import end_silent
from agent.server.store.pauses import AttentiveClock
from tests.server.server_lab import KEY, Lab


class Times:
    """The two clocks of a machine, turned by hand."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.lived = 50.0

    def pass_by(self, seconds: float, *, lived: float | None = None) -> None:
        self.wall += seconds
        self.lived += seconds if lived is None else lived

    def clock(self) -> AttentiveClock:
        return AttentiveClock(lambda: self.wall, lambda: self.lived)


def states_after(lab: Lab, times: Times, seconds: float, lived: float) -> list[str]:
    """A live agent with a run; the server misses `seconds`, then tidies up and hands out work."""
    lab.services.clock = clock = times.clock()
    agent = lab.make_agent(lab.make_sweep())
    run = lab.claim(agent)
    lab.init(run)
    for _ in range(3):
        times.pass_by(2.0)
        clock()
    times.pass_by(seconds, lived=lived)
    with lab.services.database.write() as connection:
        lab.services.excuse_pauses(connection)
        end_silent(connection, clock(), lab.policy)
    other = lab.make_agent({"name": lab.run(run, "sweepName")["sweepName"]})
    assert lab.claim(other) != run  # the live run is not handed out a second time
    assert lab.beat(agent, run) == []  # and its owner is not asked to stop
    return [str(lab.run(run, "state")["state"])]


@pytest.mark.parametrize("seconds", [10, 60, 310, 600, 7200])
def test_a_stopped_server_takes_no_live_run_away(lab: Lab, seconds: float) -> None:
    assert states_after(lab, Times(), seconds, lived=seconds) == ["running"]


@pytest.mark.parametrize("seconds", [-7200, -600, 310, 7200])
def test_a_clock_that_is_set_or_a_machine_that_is_suspended_takes_none_away(
    lab: Lab, seconds: float
) -> None:
    assert states_after(lab, Times(), seconds, lived=0.5) == ["running"]


def test_silence_that_the_server_has_listened_to_still_counts(lab: Lab) -> None:
    times = Times()
    lab.services.clock = clock = times.clock()
    lab.init("quiet")
    for _ in range(200):
        times.pass_by(2.0)
        clock()
    with lab.services.database.write() as connection:
        lab.services.excuse_pauses(connection)
        assert end_silent(connection, clock(), lab.policy) == 1


@pytest.mark.parametrize("seconds", [-7200, 7200])
def test_requests_go_on_after_the_clock_was_set(lab: Lab, seconds: float) -> None:
    lab.init("r")
    for _ in range(3):
        lab.log("r", 0, [{"loss": 1}])
        lab.now += seconds
    assert lab.http.get("/local/p", auth=("api", KEY)).status_code == 200


def test_what_env_prints_is_safe_for_the_shell_that_evaluates_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import argparse
    import subprocess

    from agent.server.commands import run_env
    from agent.server_note import ServerNote, write_note

    note = ServerNote("http://h:1/$(touch hacked)", 1, "me; touch hacked", "k'ey`touch hacked`")
    write_note(tmp_path, note)
    run_env(argparse.Namespace(data=tmp_path))
    script = (
        capsys.readouterr().out
        + 'printf "%s\\n" "$WANDB_BASE_URL" "$WANDB_ENTITY" "$WANDB_API_KEY"'
    )
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [note.url, note.entity, note.key]
    assert not (tmp_path / "hacked").exists()
