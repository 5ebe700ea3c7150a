"""The supervisor over real processes: stand-ins for `wandb agent` and train.py, no Slurm."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from agent.cluster import processes
from agent.cluster.claims import Claim, ClaimFile
from agent.cluster.job import supervisor as supervisor_module
from agent.cluster.job.sweep_source import SweepSource, backoff_s
from agent.cluster.job.worker import Worker
from agent.cluster.job.workload import PointWork, Work
from agent.cluster.processes import GridPointProcess
from agent.errors import ClusterError, Fault
from agent.takeover import Term
from agent.tracking.first_commands import FirstCommands
from agent.tracking.login import Login
from agent.tracking.run_states import RunState
from tests.cluster.job.stage import AGENT, Stage, step_until

AWAY = "http://s does not answer: Connection refused"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_the_sweeps_are_worked_through_in_order(stage: Stage) -> None:
    stage.runs = {"e/p/one": ("a", "b"), "e/p/two": ("c",)}
    stage.states = {name: RunState("finished", 0) for name in "abc"}
    worker = stage.worker("e/p/one", "e/p/two")
    step_until(worker, lambda: worker.done)
    assert [line.split()[0] for line in stage.log if "finished" in line] == ["a", "b", "c"]
    assert worker.failed == []
    assert ClaimFile(stage.claims_path).open_claims() == []


def test_the_next_agent_starts_in_the_step_that_sees_the_end_of_the_one_before(
    stage: Stage,
) -> None:
    stage.runs = {"e/p/one": (), "e/p/two": ()}
    worker = stage.worker("e/p/one", "e/p/two")
    worker.step(time.time())
    first = worker.pid
    assert first is not None
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    worker.step(time.time())
    assert worker.pid not in (None, first)
    assert stage.said[-2:] == [
        "worker 0: wandb agent e/p/one ended, exit status 0",
        "worker 0: wandb agent e/p/two",
    ]
    worker.kill()


def test_a_running_grid_point_is_on_disk_with_all_it_takes_to_run_it_again(stage: Stage) -> None:
    stage.runs = {"e/p/one": ("a",)}
    stage.variables = {"POINT_S": "30"}
    worker = stage.worker("e/p/one")
    step_until(worker, lambda: bool(worker.running_grid_points()))
    (claim,) = ClaimFile(stage.claims_path).open_claims()
    worker.tell(signal.SIGTERM, {})
    worker.kill()
    assert (claim.run_id, claim.sweep, claim.directory) == ("a", "e/p/one", str(Path.cwd()))
    assert claim.argv[1] == str(stage.directory / "point.py")
    assert claim.variables == {"WANDB_RUN_ID": "a", "WANDB_SWEEP_ID": "s"}


def test_a_point_that_was_cut_off_runs_before_new_ones(stage: Stage) -> None:
    claim = Claim(
        "old",
        "e/p/one",
        (sys.executable, str(stage.directory / "point.py")),
        str(stage.directory),
        {"WANDB_RUN_ID": "old"},
    )
    ClaimFile(stage.claims_path).add(claim)
    stage.states = {"old": RunState("running", 500), "new": RunState("finished", 0)}
    stage.runs = {"e/p/one": ("new",)}
    worker = stage.worker("e/p/one")
    step_until(worker, lambda: any("old started" in line for line in stage.log))
    stage.states["old"] = RunState("finished", 0)
    step_until(worker, lambda: worker.done)
    assert stage.log == ["old started", "old finished", "new started", "new finished"]


def test_a_requeued_task_takes_its_own_point_back_though_the_server_heard_it_just_now(
    stage: Stage,
) -> None:
    """Its earlier life is over; waiting for the server to miss it cost minutes of a GPU."""
    words = (sys.executable, str(stage.directory / "point.py"))
    claim = Claim("own", "e/p/one", words, str(stage.directory), {"WANDB_RUN_ID": "own"})
    other = Claim("taken", "e/p/one", words, str(stage.directory), {"WANDB_RUN_ID": "taken"})
    for each in (claim, other):
        ClaimFile(stage.claims_path).add(each)
    ClaimFile(stage.claims_path.with_name("1_1-0.json")).add(other)
    stage.states = {name: RunState("running", 1) for name in ("own", "taken")}
    stage.runs = {"e/p/one": ()}
    worker = stage.worker("e/p/one", crashed=True)
    step_until(worker, lambda: "own finished" in stage.log)
    stage.states = {name: RunState("finished", 0) for name in ("own", "taken")}
    step_until(worker, lambda: worker.done)
    assert stage.log == ["own started", "own finished"]


@pytest.mark.parametrize("sweeps", [("e/p/one",), ("e/p/one", "e/p/two")])
def test_a_task_without_a_grid_point_leaves_every_sweep_after_its_idle_limit(
    stage: Stage, sweeps: tuple[str, ...]
) -> None:
    stage.runs = dict.fromkeys(sweeps, ())
    stage.variables = {"AGENT_IDLES": "1"}
    worker = stage.worker(*sweeps)
    step_until(worker, lambda: worker.done, ahead_s=10)
    assert worker.failed == []
    assert sum("no grid point for" in line for line in stage.said) == len(sweeps)
    assert stage.supervise(worker) == 0
    assert "e/p/one had no grid point for 120 s" in stage.said[-1]


def test_no_point_is_taken_while_the_shared_disk_takes_no_data(stage: Stage) -> None:
    """An agent whose disk is full loses each point that it takes."""
    full = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/state")]

    def check_site() -> None:
        if full:
            raise full[0]

    stage.runs = {"e/p/one": ("a",)}
    stage.states = {"a": RunState("finished", 0)}
    worker = stage.worker("e/p/one", check_site=check_site)
    clock = time.time()
    for second in range(90):
        worker.step(clock + second)
    assert (worker.pid, stage.log) == (None, [])
    assert stage.said == ["worker 0: waiting for the site: No space left on device: /state"]
    full.clear()
    step_until(worker, lambda: worker.done)
    assert stage.log == ["a started", "a finished"]


def test_a_task_gives_up_on_a_disk_that_stays_full_and_says_why(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its first look at the disk until the time is over, and with the site's exit status."""
    monkeypatch.setattr(supervisor_module, "TICK_S", 0.01)

    def check_site() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/state")

    stage.runs = {"e/p/one": ("a",)}
    worker = stage.worker("e/p/one", check_site=check_site, site_limit_s=1.5)
    status = stage.supervise(worker, lead_s=1)
    assert (status, stage.log) == (Fault.SITE.exit_status, [])
    assert stage.said[-1] == (
        "gave up on the site, after 0.025 min: No space left on device: /state"
    )


def test_a_run_that_waited_for_the_site_in_vain_ends_its_task_and_keeps_no_claim(
    stage: Stage,
) -> None:
    """The agent would be given the same point again, and wait as long again."""
    stage.runs = {"e/p/one": ("a",), "e/p/two": ("b",)}
    stage.states = {"a": RunState("preempted", 0)}
    stage.variables = {"AGENT_CODE": str(Fault.SITE.exit_status)}
    worker = stage.worker("e/p/one", "e/p/two")
    step_until(worker, lambda: worker.done)
    assert worker.is_site_at_fault
    assert worker.failed == [
        "e/p/one: run a met a fault of the site that lasted (disk, quota, permission or network)"
    ]
    assert [line for line in stage.log if "started" in line] == ["a started"]
    assert ClaimFile(stage.claims_path).open_claims() == []


def test_the_point_of_a_killed_agent_is_waited_for_and_the_agent_started_again(
    stage: Stage,
) -> None:
    processes.adopt_orphans()
    stage.runs = {"e/p/one": ("a",)}
    stage.variables = {"POINT_S": "1"}
    stage.states = {"a": RunState("finished", 0)}
    worker = stage.worker("e/p/one")
    step_until(worker, lambda: bool(worker.running_grid_points()))
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    step_until(worker, lambda: "a finished" in stage.log)
    worker.step(time.time())
    assert stage.log.count("a started") == 1
    processes.reap_orphans(set())
    step_until(worker, lambda: any("SIGKILL" in line for line in stage.said))
    assert not worker.done


def test_an_agent_that_keeps_failing_is_given_up_after_growing_waits(stage: Stage) -> None:
    stage.runs = {"e/p/one": ()}
    stage.variables = {"AGENT_CODE": "1"}
    worker = stage.worker("e/p/one")
    clock = time.time()
    starts = 0
    end = time.monotonic() + 20
    while not worker.done:
        assert time.monotonic() < end
        worker.step(clock)
        clock += 1 if worker.pid is None else 0
        starts = sum("wandb agent" in line and "ended" in line for line in stage.said)
    assert starts == 6
    assert worker.failed == ["e/p/one"]
    assert [backoff_s(n) for n in (1, 2, 3, 9)] == [5, 10, 20, 120]


def test_a_server_that_is_not_there_yet_is_waited_for(stage: Stage) -> None:
    def refuse(sweep: str, first: FirstCommands | None) -> Work:
        raise ClusterError("no address yet")

    source = SweepSource(
        ["e/p/one"],
        ClaimFile(stage.claims_path),
        agent_work=refuse,
        point_work=lambda claim: PointWork(claim, {}),
        read_states=lambda _sweep, _ids: {},
        server_hands_out_crashed=True,
    )
    worker = Worker("worker 0", source, stage.said.append)
    worker.step(0.0)
    assert not worker.done
    assert stage.said == ["worker 0: cannot start: no address yet"]


def test_a_server_that_stays_away_is_waited_for_as_long_as_stated(stage: Stage) -> None:
    """Long past the starts that an agent has which fails for a reason of its own."""
    source = SweepSource(
        ["e/p/one"],
        ClaimFile(stage.claims_path),
        agent_work=stage.agent_work,
        point_work=lambda claim: PointWork(claim, {}),
        read_states=lambda _sweep, _ids: {},
        server_hands_out_crashed=True,
        login=lambda: Login("http://s", "", AWAY, is_reachable=False),
        site_limit_s=300.0,
    )
    stage.runs = {"e/p/one": ()}
    work, starts, clock = stage.agent_work("e/p/one"), 0, 0.0
    while not source.done and clock < 1000:
        if source.next_work(clock) is not None:
            starts += 1
            source.ended(work, 1, [], clock)
        clock += 1
    assert starts > 20
    assert 300 <= clock < 320
    assert source.is_site_at_fault
    assert source.failed == [f"e/p/one: {AWAY}"]


def test_a_key_that_is_refused_is_not_tried_again(stage: Stage) -> None:
    source = SweepSource(
        ["e/p/one", "e/p/two"],
        ClaimFile(stage.claims_path),
        agent_work=stage.agent_work,
        point_work=lambda claim: PointWork(claim, {}),
        read_states=lambda _sweep, _ids: {},
        server_hands_out_crashed=True,
        login=lambda: Login("http://s", "k", "http://s refuses the key in k"),
    )
    stage.runs = {"e/p/one": ()}
    source.ended(stage.agent_work("e/p/one"), 1, [], 0.0)
    assert source.done
    assert source.failed == ["http://s refuses the key in k"]
    assert not source.is_site_at_fault


@pytest.mark.parametrize(
    ("number", "received", "code"),
    [(signal.SIGTERM, "SIGUSR2", 1), (signal.SIGINT, "SIGTERM", 0)],
)
def test_a_notice_freezes_the_agent_and_is_translated_for_the_point(
    stage: Stage, number: signal.Signals, received: str, code: int
) -> None:
    """Without Slurm's word a SIGTERM counts as preemption; nothing new is taken after it."""
    stage.runs = {"e/p/one": ("a", "b")}
    stage.variables = {"POINT_S": "30"}
    worker = stage.worker("e/p/one")
    step_until(worker, lambda: "a started" in stage.log)
    assert stage.supervise(worker, number) == code
    assert stage.log == ["a started", f"a {received}"]
    assert worker.pid is None


def test_an_orphan_that_wakes_up_ends_all_it_started_and_asks_slurm_for_nothing(
    stage: Stage,
) -> None:
    """Its task runs elsewhere: a requeue from here would take the living one away."""
    stage.runs = {"e/p/one": ("a", "b")}
    stage.variables = {"POINT_S": "30"}
    worker = stage.worker("e/p/one")
    step_until(worker, lambda: "a started" in stage.log and bool(worker.running_grid_points()))
    first = Term.take(stage.directory / "lives", {"host": "n1"})
    Term.take(stage.directory / "lives", {"host": "n2"})
    (point,) = worker.running_grid_points()
    assert stage.supervise(worker, is_superseded=lambda: first.is_over) == 1
    end = time.monotonic() + 10
    while processes.is_running(point.pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not processes.is_running(point.pid)
    assert stage.log == ["a started"]
    assert not any("requeue" in line for line in stage.said)


def test_when_the_server_moves_runs_save_and_the_agent_starts_anew(stage: Stage) -> None:
    stage.runs = {"e/p/one": ("a",)}
    stage.variables = {"POINT_S": "30"}
    stage.states = {"a": RunState("finished", 0)}
    worker = stage.worker("e/p/one")
    step_until(worker, lambda: "a started" in stage.log)
    moves = iter([True])

    def moved() -> bool:
        stage.variables = {"POINT_S": "0.1"}
        return next(moves, False)

    assert stage.supervise(worker, has_server_moved=moved) == 0
    assert stage.log == ["a started", "a SIGUSR2", "a started", "a finished"]


def test_a_run_that_does_not_answer_is_cut_off_in_time_for_the_requeue(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stage.directory / "point.py").write_text(
        "import os, pathlib, signal, time\n"
        "signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n"
        "pathlib.Path(os.environ['LOG']).write_text('deaf')\n"
        "time.sleep(60)\n"
    )
    stage.runs = {"e/p/one": ("a",)}
    worker = stage.worker("e/p/one")
    step_until(worker, lambda: stage.log == ["deaf"])
    monkeypatch.setattr(supervisor_module, "saving_time_s", lambda *_, **__: 0.5)
    assert stage.supervise(worker, signal.SIGUSR1, lead_s=0) == 1
    assert "run a did not end in time; it is cut off" in stage.said
    assert [claim.run_id for claim in ClaimFile(stage.claims_path).open_claims()] == ["a"]


def test_an_agent_that_gets_nothing_makes_way_for_the_next_sweep(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may keep agents while others still run points; a GPU must not wait."""
    monkeypatch.setattr("agent.cluster.job.sweep_source.IDLE_S", 2.0)
    (stage.directory / "agent.py").write_text(
        "import sys, time\nif sys.argv[2:] == ['wait']: time.sleep(3)\n" + textwrap.dedent(AGENT)
    )
    stage.runs = {"e/p/one": ("wait",), "e/p/two": ("b",)}
    stage.states = {name: RunState("finished", 0) for name in ("wait", "b")}
    worker = stage.worker("e/p/one", "e/p/two")
    step_until(worker, lambda: worker.done)
    assert [line for line in stage.log if "started" in line] == ["b started", "wait started"]
    assert any("has had no grid point" in line for line in stage.said)


def test_only_the_grid_point_is_taken_for_one_not_a_helper_of_the_agent(stage: Stage) -> None:
    stage.variables = {"POINT_S": "30", "WANDB_RUN_ID": "x"}
    point = [sys.executable, str(stage.directory / "point.py")]
    helper = subprocess.Popen(point, env=stage.environment, start_new_session=True)
    child = subprocess.Popen(point, env=stage.environment, process_group=0)
    found: list[GridPointProcess] = []
    end = time.monotonic() + 10
    while not found and time.monotonic() < end:
        found = processes.grid_points_below(os.getpid())
    for each in (helper, child):
        each.kill()
        each.wait()
    assert [(p.pid, p.run_id) for p in found] == [(child.pid, "x")]
