"""`make bench`: the plain transformers + PEFT loop against this project, side by side in one run.

    python -m tests.tools.bench [--points 15] [--workers 2] [--out bench.json]

Both get the same points, data and cores. The plain loop trains every epoch of every point, in fresh
processes of one thread, as many at a time as there are workers; this project runs its demo sweeps
with real agents on its own server, as `make demo` does. Seconds are of this machine in this hour:
only the ratios of one run are claims.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from agent.cluster.warm_start import warm_worker
from agent.config import sweep_yaml
from agent.config.run_config import RunConfig
from agent.demo import data, results
from agent.demo.runner import Demo
from agent.server.process import running_server

ROOT = Path(__file__).resolve().parents[2]
# From the middle of the range outwards, as in the demo's sweeps.
RATES = {15: (5e-3, 5e-4, 2e-2), 40: (5e-3, 2e-3, 1e-2, 1e-3, 2e-2, 5e-4, 4e-2, 2e-4)}
OFFLINE = {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


class Study(Demo):
    """The demo's sweeps and agents alone, without what comes after."""

    def run_sweeps(self) -> tuple[float, list[results.Row]]:
        """Seconds from the creation of the sweeps to the last run's end, and the runs."""
        self._prepare()
        with running_server(self._out / "server") as server:
            self._env = self._environment(server.env)
            began = time.monotonic()
            try:
                rows = self._run_sweeps(server.entity).rows()
                return time.monotonic() - began, rows
            finally:
                self._end_all()


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, choices=sorted(RATES), default=15)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("outputs/bench.json"))
    args = parser.parse_args(words)
    found = measure(args.points, args.workers)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1, default=str))
    print(
        f"{args.points} points: plain {found['plain_s']} s, ours {found['ours_s']} s, "
        f"{found['ratio']} times (CPU time: {found['cpu_ratio']}); "
        f"first step cold {found['cold_first_step_s']} s, warm "
        f"{found['warm_first_step_s']} s; F1 lost by the choice: {found['regret']}"
    )
    for name in ("tokens_per_s", "validation_examples_per_s", "peak_rss_gb"):
        print(f"{name}: plain {found['plain_' + name]}, ours {found['ours_' + name]}")
    return 0


def measure(count: int, workers: int) -> dict[str, Any]:
    """Both sides in turn on `count` points: makespan, CPU time, first step and the speed of one."""
    found: dict[str, Any] = {"points": count, "workers": workers}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = Path(folder)
        sweeps = write_sweeps(place, RATES[count])
        points = list(points_of(sweeps))
        data.write_data(place / "data")
        found |= measure_first_steps(place, points[0])
        before = cpu_seconds()
        ours_s, rows = Study(place, sweeps, None, queries=0, reuse=False).run_sweeps()
        between = cpu_seconds()
        plain_s, plain = run_plain(place, points, workers)
        found |= {"ours_cpu_s": between - before, "plain_cpu_s": cpu_seconds() - between}
        found |= compare_one(place, points[0])
        found |= {"ours_s": ours_s, "plain_s": plain_s, "ratio": plain_s / ours_s}
        found["cpu_ratio"] = found["plain_cpu_s"] / found["ours_cpu_s"]
        found["pruned"] = sum(row["state"] == "pruned" for row in rows)
        found["regret"] = regrets(points, plain, rows)
        found["most_f1_lost"] = max(found["regret"].values())
    return {k: round(v, 2) if isinstance(v, float) and v >= 0.1 else v for k, v in found.items()}


def cpu_seconds() -> float:
    """Of all processes below this one that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare_one(place: Path, point: Mapping[str, Any]) -> dict[str, float]:
    """One point in one process, alone, by each side in turn: tokens and validation examples a
    second, and memory."""
    file, found = place / "one.json", {}
    file.write_text(json.dumps({**point, "store": str(place / "one-store")}))
    for side, module in (("ours", "one_training"), ("plain", "plain_loop")):
        out = place / f"one-{side}.json"
        subprocess.run(
            [sys.executable, "-m", f"tests.tools.{module}", str(file), str(out)],
            cwd=ROOT,
            env={**os.environ, **OFFLINE},
            capture_output=True,
            check=True,
        )
        measured = json.loads(out.read_text())
        for name in ("tokens_per_s", "validation_examples_per_s", "peak_rss_gb"):
            found[f"{side}_{name}"] = measured[name]
    return found


# ---------------------------------------------------------------------- the points
def write_sweeps(place: Path, rates: Iterable[float]) -> Path:
    """The demo's sweeps with these learning rates, and data and store under `place`."""
    folder = place / "sweeps"
    folder.mkdir()
    for file in sorted((ROOT / "sweeps" / "demo").glob("*.yaml")):
        sweep = yaml.safe_load(file.read_text())
        sweep["parameters"] |= {
            "learning_rate": {"values": list(rates)},
            "dataset": {"value": str(place / "data")},
            "store": {"value": str(place / "store")},
        }
        (folder / file.name).write_text(yaml.safe_dump(sweep))
    return folder


def points_of(sweeps: Path) -> Iterable[Mapping[str, Any]]:
    for file in sorted(sweeps.glob("*.yaml")):
        yield from sweep_yaml.grid_points(sweep_yaml.load(file))


# ---------------------------------------------------------------------- the plain loop
def run_plain(
    place: Path, points: list[Mapping[str, Any]], workers: int
) -> tuple[float, list[dict[str, Any]]]:
    """Seconds for all points, `workers` at a time, and what each found."""

    def run_one(number: int) -> dict[str, Any]:
        point, out = place / f"plain-{number}.json", place / f"plain-{number}.out.json"
        point.write_text(json.dumps(points[number]))
        started = time.time()
        command = [sys.executable, "-m", "tests.tools.plain_loop", str(point), str(out)]
        with out.with_suffix(".log").open("wb") as log:
            subprocess.run(
                command, cwd=ROOT, env={**os.environ, **OFFLINE}, stdout=log, stderr=log, check=True
            )
        found: dict[str, Any] = json.loads(out.read_text())
        return {**found, "first_step_s": found["first_step_at"] - started}

    began = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(run_one, range(len(points))))
    return time.monotonic() - began, found


def regrets(
    points: list[Mapping[str, Any]], plain: list[dict[str, Any]], rows: list[results.Row]
) -> dict[str, float]:
    """For each cell, the F1 that the full grid's best rate has over the rate chosen here, both
    by the plain loop's scores: what pruning has lost."""
    chosen: dict[str, tuple[float, float]] = {}
    for row in rows:
        score = row.get("final/validation_f1_score")
        if row["state"] == "finished" and isinstance(score, float | int):
            cell = f"{row['model_variant']} {row['quantization_strategy']}"
            rated = (float(score), float(row["learning_rate"]))
            chosen[cell] = max(chosen.get(cell, (-1.0, 0.0)), rated)
    lost: dict[str, float] = {}
    for cell, (_, rate) in chosen.items():
        scores = {
            float(p["learning_rate"]): found["f1"]
            for p, found in zip(points, plain, strict=True)
            if f"{p['model_variant']} {p['quantization_strategy']}" == cell
        }
        lost[cell] = round(max(scores.values()) - scores[rate], 4)
    return lost


# ---------------------------------------------------------------------- the first step
def measure_first_steps(place: Path, point: Mapping[str, Any], rounds: int = 3) -> dict[str, float]:
    """Median seconds from exec to the end of the first optimizer step, cold and warm in turn; one
    start before them fills the store's caches, as in any study."""
    environment = {**os.environ, **OFFLINE, "WANDB_DIR": str(place)}
    time_first_step(place, point, environment)
    found: dict[str, list[float]] = {"cold": [], "warm": []}
    with warm_worker(environment) as warm:
        time_first_step(place, point, {**environment, **warm})  # waits for the worker's imports
        for _ in range(rounds):
            found["cold"].append(time_first_step(place, point, environment))
            found["warm"].append(time_first_step(place, point, {**environment, **warm}))
    return {f"{how}_first_step_s": statistics.median(times) for how, times in found.items()}


def time_first_step(place: Path, point: Mapping[str, Any], environment: Mapping[str, str]) -> float:
    file, noted = place / "first.json", place / "first.txt"
    config = {**point, "store": str(place / "first-store")}
    RunConfig.parse(dict(config))
    file.write_text(json.dumps(config))
    extra = {"SWEEP_AGENT_EXTENSIONS": "tests.tools.first_step", "FIRST_STEP_FILE": str(noted)}
    started = time.time()
    subprocess.run(
        [sys.executable, "train.py", "--config", str(file)],
        cwd=ROOT,
        env={**environment, **extra},
        capture_output=True,
        check=True,
    )
    return float(noted.read_text()) - started


if __name__ == "__main__":
    sys.exit(main())
