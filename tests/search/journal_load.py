"""Many processes on one pruning storage, as an array job makes them; counts and times the reports.

    python -m tests.search.journal_load PLACE PROCESSES RUNGS PERIOD_S DIRECTORY

Prints one JSON object. Shared by the small test of the suite and the full proof.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.search.trial_lab import opened

EXAMPLES = 200


def work(
    number: int, processes: int, rungs: int, period_s: float, storage: str | None, journal: Path
) -> list[float]:
    """One worker: the seconds that each of its reports took, verdict included."""
    rng = np.random.default_rng(number)
    seconds = []
    begin = time.monotonic() + 1.0  # lets the others open their trials
    name, rate = f"run{number}", 1e-5 * (number + 1)
    options: dict[str, Any] = {"scope": "load/test", "rungs": rungs, "pruning_storage": storage}
    with opened(journal, name, rate, processes, **options) as trial:
        for rung in range(1, rungs + 1):
            due = begin + (rung - 1 + number / processes) * period_s
            time.sleep(max(0.0, due - time.monotonic()))
            scores = {f"e{i}": s for i, s in enumerate(rng.normal(0.5, 0.3, EXAMPLES).tolist())}
            start = time.monotonic()
            trial.report(rung, scores)
            seconds.append(time.monotonic() - start)
        trial.suspend()  # whatever the verdicts were: the storage is what is measured
    return seconds


def run(place: str, processes: int, rungs: int, period_s: float, directory: Path) -> dict[str, Any]:
    """Fork the workers (the imports are paid once) and sum up what they saw."""
    storage = place if "://" in place else None
    journal = Path(place) if storage is None else directory / "unused"
    children = {}
    for number in range(processes):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                seconds = work(number, processes, rungs, period_s, storage, journal)
                (directory / f"{number}.json").write_text(json.dumps(seconds))
                status = 0
            finally:
                os._exit(status)
        children[child] = number
    failed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    seconds = [
        value
        for number in range(processes)
        if (directory / f"{number}.json").exists()
        for value in json.loads((directory / f"{number}.json").read_text())
    ]
    return {
        "processes": processes,
        "failed": failed,
        "reports": len(seconds),
        "p50_ms": round(1e3 * float(np.percentile(seconds, 50)), 1),
        "p99_ms": round(1e3 * float(np.percentile(seconds, 99)), 1),
        "max_ms": round(1e3 * max(seconds), 1),
    }


if __name__ == "__main__":
    place, processes, rungs, period_s, directory = sys.argv[1:]
    print(json.dumps(run(place, int(processes), int(rungs), float(period_s), Path(directory))))
