"""Workers that report to one journal and are killed at any moment; what is left is counted.

    python -m tests.search.kill_storm JOURNAL WORKERS KILLS SEED

Every other killed run is started again, as Slurm requeues it. At the end one more worker passes by
and the journal is read with Optuna's own reader. Prints one JSON object.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage

from agent.search import paired_pruner
from agent.search.trials import BEATS_MISSED
from tests.search.trial_lab import opened

RUNGS = 4
BEAT_S = 0.1
LONGEST_S = 120.0


def work(journal: Path, number: int) -> None:
    """One run from wherever it was; reports as fast as it can."""
    name, rate = f"run{number}", 1e-6 * (number + 1)
    with opened(journal, name, rate, None, scope="storm", rungs=RUNGS, beat_s=BEAT_S) as trial:
        for rung in range(1, RUNGS + 1):
            trial.report(rung, {f"e{i}": (number * 7 + i * rung) % 10 / 10 for i in range(50)})
            time.sleep(0.03)


def storm(journal: Path, workers: int, kills: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    live: dict[int, int] = {}  # process id → run
    started, killed, unexpected = 0, 0, 0
    abandoned: set[int] = set()
    again: list[int] = []
    begin = time.monotonic()
    while killed < kills and time.monotonic() - begin < LONGEST_S:
        while len(live) < workers:
            number = again.pop() if again else started
            started += number == started
            live[_start(journal, number)] = number
        time.sleep(rng.uniform(0.0, 0.06))
        victim = rng.choice(list(live))
        os.kill(victim, signal.SIGKILL)
        number = live[victim]
        _, status = os.waitpid(victim, 0)
        del live[victim]
        if os.WIFSIGNALED(status):
            killed += 1
            if rng.random() < 0.5:
                again.append(number)
            else:
                abandoned.add(number)
        unexpected += os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0
    for number in again:
        live[_start(journal, number)] = number
    for process in live:
        unexpected += os.waitpid(process, 0)[1] != 0
    time.sleep(BEAT_S * (BEATS_MISSED + 1))
    start = time.monotonic()
    work(journal, started)  # the next worker frees what the dead have left
    return {
        "killed": killed,
        "failed_workers": int(unexpected),
        "next_worker_s": time.monotonic() - start,
        **_count(journal, started + 1, abandoned),
    }


def _start(journal: Path, number: int) -> int:
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work(journal, number)
            status = 0
        finally:
            os._exit(status)
    return process


def _count(journal: Path, runs: int, abandoned: set[int]) -> dict[str, Any]:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    states = Counter(trial.state.name for trial in trials)
    ended = {
        t.system_attrs[paired_pruner.RUN] for t in trials if t.state.name in ("COMPLETE", "PRUNED")
    }
    expected = {f"run{n}" for n in range(runs)} - {f"run{n}" for n in abandoned}
    return {
        "trials": len(trials),
        "running": states["RUNNING"],
        "states": dict(states),
        "lost_runs": sorted(expected - ended),
        "duplicate_trials": len(trials) - len({t.system_attrs[paired_pruner.RUN] for t in trials}),
    }


if __name__ == "__main__":
    place, workers, kills, seed = sys.argv[1:]
    print(json.dumps(storm(Path(place), int(workers), int(kills), int(seed))))
