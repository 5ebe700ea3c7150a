"""An orphan: a training that was taken for dead and wakes up after its run went on elsewhere.

`SIGSTOP` stands for the node that falls silent; the second process is what a requeued task starts.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from agent.cluster.processes import children_of
from agent.demo.data import write_data
from tests.end_to_end.slurm_cluster import wait_until
from tests.end_to_end.slurm_stage import Stage

REPOSITORY = Path(__file__).parents[2]
RUN = "sleeper1"
PATIENCE_S = 400
POINT = {
    "model_variant": "Full LoRA",
    "learning_rate": 5e-3,
    "base_model": "agent/demo/assets/base_model",
    "validation_fraction": 0.05,
    "test_fraction": 0.6,
    "max_length": 128,
    "batch_size": 8,
    "epochs": 3,
    "eval_examples": 16,
    "max_new_tokens": 32,
    "log_every_steps": 1,
}


@dataclass(frozen=True)
class Awakening:
    """What came of it."""

    orphan_status: int
    orphan_words: str
    status: int
    words: str  # of the process that took over
    run_state: str
    steps: list[int]  # as logged, in order
    total_steps: int
    writers: list[int]  # term of office of the writer of each evaluation point


def awaken(stage: Stage, project: str = "orphan") -> Awakening:
    """Start a training, stop it, let another process take it over, and wake the first one up."""
    place = stage.directory / "outputs" / project
    write_data(place / "data")
    point = place / "point.json"
    store = place / "store"
    point.write_text(json.dumps({**POINT, "dataset": str(place / "data"), "store": str(store)}))
    first = _train(stage, project, point, "first")
    started = [first]
    try:
        _wait_for_point(store, 1)
        asleep = [first.pid, *children_of(first.pid)]  # wandb's own process falls silent as well
        _send(asleep, signal.SIGSTOP)
        started.append(_train(stage, project, point, "second"))
        try:
            _wait_for_point(store, 1 + len(list(store.glob("*/eval-*"))))
        finally:
            _send(asleep, signal.SIGCONT)
        statuses = [process.wait(PATIENCE_S) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    run = stage.api().run(f"{stage.entity}/{project}/{RUN}")
    manifests = [json.loads(p.read_text()) for p in sorted(store.glob("*/eval-*/manifest.json"))]
    return Awakening(
        orphan_status=statuses[0],
        orphan_words=(place / "first.log").read_text(),
        status=statuses[1],
        words=(place / "second.log").read_text(),
        run_state=run.state,
        steps=[int(row["step"]) for row in run.scan_history(keys=["step"])],
        total_steps=int(run.summary["final/step"]),
        writers=[int(str(manifest["writer"]).partition("-")[0]) for manifest in manifests],
    )


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _train(stage: Stage, project: str, point: Path, name: str) -> "subprocess.Popen[bytes]":
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    settings = {
        "WANDB_PROJECT": project,
        "WANDB_RUN_ID": RUN,
        "WANDB_DIR": str(point.parent),
        "OMP_NUM_THREADS": "1",
    }
    with (point.parent / f"{name}.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "train.py", "--config", str(point)],
            cwd=REPOSITORY,
            env={**inherited, **stage.server_environment, **settings},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _wait_for_point(store: Path, number: int) -> None:
    wait_until(
        lambda: any(store.glob(f"*/eval-{number:04d}/manifest.json")),
        timeout_s=PATIENCE_S,
        what=f"evaluation point {number}",
    )
