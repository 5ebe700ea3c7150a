"""Faults on real trainings: train.py and the demo model, on the real Slurm, through the store."""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import yaml
from slurm_cluster import wait_until
from slurm_stage import Stage

from agent import files
from agent.cluster.submission import create_sweep
from agent.demo.data import write_data

REPOSITORY = Path(__file__).parents[2]
END_TIMEOUT_S = 600


@dataclass(frozen=True)
class Outcome:
    """What became of one training under a fault."""

    fault: str
    run_state: str
    restarts: int
    logged_twice: int
    steps_logged: int
    weights: str  # sha256 of the last evaluation point's adapter
    saved_s: float | None  # from the notice to the newest checkpoint
    foreign_writers: int  # evaluation points that do not follow their parent


def prepare_project(stage: Stage) -> None:
    """A copy of the code, which nobody edits meanwhile, and the demo's data."""
    shutil.copy(REPOSITORY / "train.py", stage.directory / "train.py")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "agent", stage.directory / "agent", ignore=ignored)
    write_data(stage.directory / "outputs/demo/data")


def create_demo_sweep(stage: Stage, name: str, project: str, **values: object) -> str:
    """One of the demo's sweeps with a store of its own; `values` replace parameters."""
    sweep = yaml.safe_load((REPOSITORY / "sweeps/demo" / f"{name}.yaml").read_text())
    given = {"store": str(stage.directory / "outputs" / f"store-{project}"), **values}
    for key, value in given.items():
        sweep["parameters"][key] = (
            {"values": value} if isinstance(value, list) else {"value": value}
        )
    path = stage.directory / f"{project}-{name}.yaml"
    path.write_text(yaml.safe_dump({**sweep, "project": project}))
    environment = {**os.environ, **stage.server_environment}
    return create_sweep(path, environment, entity=stage.entity, project=project)[0]


def one_training(stage: Stage, project: str, fault: str, seed: int) -> Outcome:
    """A training of one grid point, hit by `fault` at a random moment; no fault for 'none'."""
    sweep = create_demo_sweep(
        stage, "full_lora", project, learning_rate=0.002, epochs=6, log_every_steps=5
    )
    options: dict[str, object] = {"array": "0-0", "time": "00:20:00", "lead_s": "20"}
    words = []
    if fault == "requeue":
        options["partition"] = "scav"
    if fault == "cancel":
        options["partition"] = "cancel"
        words = ["--no-requeue"]
    job = stage.submit([sweep], *words, **options)
    jobs = [job]
    if fault == "cancel":
        after = {**options, "partition": "main"}
        jobs.append(stage.submit([sweep], f"--dependency=afterany:{job}", **after))
    store = stage.directory / "outputs" / f"store-{project}"
    wait_until(lambda: any(store.glob("*/eval-0001")), timeout_s=240, what=f"{project} to train")
    time.sleep(random.Random(seed).uniform(0, 3))
    hit(stage, sweep, job, fault, project)
    saved_s = seconds_to_saved(stage, job, project) if fault in ("requeue", "cancel") else None
    wait_until(
        lambda: not any(stage.cluster.run("squeue", "-h", "--jobs", j).strip() for j in jobs),
        timeout_s=END_TIMEOUT_S,
        what=f"the jobs of {project}",
    )
    return look(stage, sweep, job, fault, project, saved_s)


def hit(stage: Stage, sweep: str, job: str, fault: str, project: str) -> None:
    """Let the fault happen."""
    node = stage.cluster.fields_of(f"{job}_0").get("NodeList", "")
    if fault in ("requeue", "cancel"):
        words = ["-p", "hi", "-w", node, "--gres=gpu:1", "-o", "/dev/null", "--wrap", "sleep 1"]
        other = stage.cluster.sbatch(*words, directory=stage.directory)
        stage.cluster.wait_for_state(other, "COMPLETED", timeout_s=120)
    elif fault == "limit":
        end = (datetime.now() + timedelta(seconds=25)).isoformat(timespec="seconds")
        stage.cluster.run("scontrol", "update", f"JobId={job}_0", f"EndTime={end}")
    elif fault in ("program", "agent"):
        text = f"WANDB_PROJECT={project}\0" if fault == "program" else f"{sweep}\0"
        for pid in pids(text, "train.py" if fault == "program" else "--forward-signals"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    elif fault == "orphan":
        hit_with_orphan(stage, job, node, project)
    elif fault == "node":
        stage.cluster.kill_node(node)
        wait_until(
            lambda: stage.cluster.fields_of(f"{job}_0").get("Restarts", "0") != "0",
            timeout_s=180,
            what="Slurm to notice the dead node",
        )
        stage.cluster.start_node(node)


def hit_with_orphan(stage: Stage, job: str, node: str, project: str) -> None:
    """The node is cut off and falls silent; what ran there wakes up after others took over."""
    orphans = pids(f"SLURM_ARRAY_JOB_ID={job}\0", "")
    stage.cluster.kill_node(node)
    for pid in orphans:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(
            lambda: stage.cluster.fields_of(f"{job}_0").get("Restarts", "0") != "0",
            timeout_s=180,
            what="Slurm to notice the silent node",
        )
        stage.cluster.start_node(node)
        store = stage.directory / "outputs" / f"store-{project}"
        before = len(list(store.glob("*/eval-*")))
        wait_until(
            lambda: len(list(store.glob("*/eval-*"))) > before,
            timeout_s=END_TIMEOUT_S,
            what="somebody to take the training over",
        )
    finally:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def look(
    stage: Stage, sweep: str, job: str, fault: str, project: str, saved_s: float | None
) -> Outcome:
    (run,) = stage.runs(sweep)
    logged = [int(row["step"]) for row in run.scan_history(keys=["step"])]
    store = stage.directory / "outputs" / f"store-{project}"
    points = sorted(store.glob("*/eval-*"))
    fields = stage.cluster.fields_of(f"{job}_0")
    return Outcome(
        fault=fault,
        run_state=run.state,
        restarts=int(fields.get("Restarts", "0")),
        logged_twice=len(logged) - len(set(logged)),
        steps_logged=len(set(logged)),
        weights=files.sha256_of(next(points[-1].glob("adapter/*.safetensors"))),
        saved_s=saved_s,
        foreign_writers=broken_links(points),
    )


def seconds_to_saved(stage: Stage, job: str, project: str) -> float | None:
    """From the notice to the checkpoint that it caused, while that checkpoint is still there."""
    log = "\n".join(p.read_text() for p in (stage.directory / "logs").glob(f"{job}_*.log"))
    notice = re.search(r"\[supervisor (\S+)\] worker \d+: SIGUSR2", log)
    store = stage.directory / "outputs" / f"store-{project}"
    saved = [path.stat().st_mtime for path in store.glob("*/step-*/manifest.json")]
    if notice is None or not saved:
        return None  # it came between two trainings, or in a validation
    return max(saved) - datetime.fromisoformat(notice.group(1)).timestamp()


def broken_links(points: list[Path]) -> int:
    """Evaluation points whose parent is not the point before: the trace of a second writer."""
    broken, before = 0, ""
    for point in points:
        manifest = point / "manifest.json"
        parent = str(json.loads(manifest.read_text())["parent"])
        if before and parent != before:
            broken += 1
        before = hashlib.sha256(manifest.read_bytes()).hexdigest()
    return broken


def pids(environment: str, words: str) -> list[int]:
    """Live processes with this text in environment or command line, and `words` in the latter."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if not entry.name.isdigit():
                continue
            line = (entry / "cmdline").read_bytes()
            everything = line + (entry / "environ").read_bytes()
            if words.encode() in line and environment.encode() in everything:
                found.append(int(entry.name))
    return found


def whole_demo(stage: Stage) -> dict[str, object]:
    """The demo's three sweeps, 15 grid points, through one array of four tasks."""
    project = "demo"
    sweeps = [
        create_demo_sweep(stage, name, project) for name in ("full_lora", "qlora", "lora_ptq")
    ]
    began = time.monotonic()
    job = stage.submit(sweeps, array="0-3", time="01:00:00")
    wait_until(
        lambda: not stage.cluster.run("squeue", "-h", "--jobs", job).strip(),
        timeout_s=1500,
        what="the demo's array",
    )
    runs = [run for sweep in sweeps for run in stage.runs(sweep)]
    waited = sum(float(run.summary.get("train/waited_seconds") or 0) for run in runs)
    spent = sum(float(run.summary.get("train/own_gpu_seconds") or 0) for run in runs)
    return {
        "points": len(runs),
        "states": dict(Counter(run.state for run in runs)),
        "pruned": sum("pruned" in run.tags for run in runs),
        "seconds": round(time.monotonic() - began, 1),
        "waiting_share": round(waited / spent, 4) if spent else None,
    }
