"""One writer, judged without comparing clocks; a fence where judgement may be wrong."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agent.errors import LeaseLost
from agent.training import lease as leases
from agent.training.lease import Lease, Observer
from tests.training import lab

ELSEWHERE = {"host": "other", "space": "other boot", "pid": 1, "born": "1", "token": "1-x"}


class Clock:
    """A monotonic clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def take(training: Path) -> Lease:
    lease = Observer(training).try_acquire()
    assert lease is not None
    return lease


def holder_elsewhere(training: Path, beat: int = 1) -> None:
    """A lease held on another machine."""
    directory = training / "lease"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "0001.json").write_text(json.dumps(ELSEWHERE))
    (directory / "0001.beat").write_text(str(beat))
    (training / "writing-0001").mkdir(exist_ok=True)


def test_a_free_lease_is_taken_and_a_held_one_is_not(tmp_path: Path) -> None:
    first = take(tmp_path)
    assert leases.is_held(tmp_path)
    assert Observer(tmp_path).try_acquire() is None
    first.release()
    assert not leases.is_held(tmp_path)
    second = take(tmp_path)
    assert second.term == first.term + 1
    assert second.token != first.token
    second.release()


def test_a_holder_elsewhere_is_followed_while_its_counter_moves(tmp_path: Path) -> None:
    clock = Clock()
    watcher = Observer(tmp_path, patience_s=30, clock=clock)
    for beat in range(1, 20):
        holder_elsewhere(tmp_path, beat)
        assert watcher.try_acquire() is None
        clock.now += 29


def test_a_counter_that_stands_still_for_our_own_patience_is_a_dead_holder(tmp_path: Path) -> None:
    clock = Clock()
    holder_elsewhere(tmp_path)
    watcher = Observer(tmp_path, patience_s=30, clock=clock)
    assert watcher.try_acquire() is None  # the first look starts the count
    clock.now += 29.9
    assert watcher.try_acquire() is None
    clock.now += 0.2
    taken = watcher.try_acquire()
    assert taken is not None
    assert taken.term == 2
    taken.release()


def test_clocks_of_other_machines_do_not_matter(tmp_path: Path) -> None:
    """Files stamped in the far past or future are judged like any other."""
    clock = Clock()
    holder_elsewhere(tmp_path)
    for stamp in (0, 4e9):
        for file in (tmp_path / "lease").iterdir():
            os.utime(file, (stamp, stamp))
        assert Observer(tmp_path, patience_s=30, clock=clock).try_acquire() is None


def test_a_holder_killed_on_this_machine_is_noticed_at_once(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from agent.training.lease import Observer\n"
        "held = Observer(Path(sys.argv[1])).try_acquire(); print('held', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert Observer(tmp_path).try_acquire() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        take(tmp_path).release()


def test_a_process_that_only_has_the_number_of_the_dead_holder_is_no_holder(
    tmp_path: Path,
) -> None:
    first = take(tmp_path)
    file = tmp_path / "lease" / "0001.json"
    identity = json.loads(file.read_text())
    file.write_text(json.dumps({**identity, "born": "1"}))
    take(tmp_path).release()
    first.release()


def test_the_old_holder_learns_that_it_was_replaced(tmp_path: Path) -> None:
    old = take(tmp_path)
    file = tmp_path / "lease" / "0001.json"
    file.write_text(json.dumps(ELSEWHERE))  # as another machine would see it
    new = lab.take_over(tmp_path)
    with pytest.raises(LeaseLost, match="another worker has taken this training over"):
        old.check()
    new.check()
    assert not old.staging.exists()  # what the orphan still writes lands nowhere
    old.release()  # and giving back what it has lost changes nothing
    new.check()
    assert new.staging.exists()
    new.release()


def test_a_lost_identity_file_does_not_free_a_lease(tmp_path: Path) -> None:
    clock = Clock()
    holder_elsewhere(tmp_path)
    (tmp_path / "lease" / "0001.json").write_text("{torn")
    assert Observer(tmp_path, clock=clock).try_acquire() is None


def _duel(training: str, barrier: Any, results: Any) -> None:
    barrier.wait()
    lease = Observer(Path(training)).try_acquire()
    results.put(lease.token if lease else None)
    barrier.wait()  # both have tried before either is gone


@pytest.mark.parametrize("claimants", [2, 5])
def test_of_claimants_at_the_same_instant_one_gets_the_lease(
    tmp_path: Path, claimants: int
) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(claimants), context.SimpleQueue()
    processes = [
        context.Process(target=_duel, args=(str(tmp_path), barrier, results))
        for _ in range(claimants)
    ]
    for process in processes:
        process.start()
    tokens = [results.get() for _ in processes]
    for process in processes:
        process.join()
    assert sum(token is not None for token in tokens) == 1


def test_claimants_in_threads_duel_many_times(tmp_path: Path) -> None:
    for round_number in range(20):
        training = tmp_path / str(round_number)
        barrier = threading.Barrier(2)
        won: list[Lease] = []

        def claim(place: Path = training, start: threading.Barrier = barrier) -> None:
            start.wait()
            if lease := Observer(place).try_acquire():
                won.append(lease)  # noqa: B023  # the threads of a round end within it

        threads = [threading.Thread(target=claim) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        won[0].release()


def test_the_counter_moves_while_the_lease_is_held(tmp_path: Path) -> None:
    lease = Observer(tmp_path, beat_s=0.01).try_acquire()
    assert lease is not None
    beat = tmp_path / "lease" / "0001.beat"
    seen: set[str] = set()
    deadline = time.monotonic() + 20
    while len(seen) < 3 and time.monotonic() < deadline:
        seen.add(beat.read_text() if beat.exists() else "")
        time.sleep(0.005)
    lease.release()
    assert len(seen) >= 3


def test_watching_tells_living_holders_from_dead_ones_on_other_machines(tmp_path: Path) -> None:
    for name in ("free", "held", "dead", "alive"):
        (tmp_path / name).mkdir()
    own = take(tmp_path / "held")
    holder_elsewhere(tmp_path / "dead")
    holder_elsewhere(tmp_path / "alive")
    stop = threading.Event()

    def beat() -> None:
        count = 1
        while not stop.wait(0.05):
            count += 1
            (tmp_path / "alive/lease/0001.beat").write_text(str(count))

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        vacant = leases.watch((p for p in sorted(tmp_path.iterdir())), patience_s=1.0)
    finally:
        stop.set()
        beating.join()
    assert {path.name for path in vacant} == {"free", "dead"}
    taken = vacant[tmp_path / "dead"].try_acquire()
    assert taken is not None
    taken.release()
    own.release()
