"""The whole demo on the real Slurm: how its tasks' time is spent."""

import re
import time
from collections import Counter

from agent.cluster.slurm import timestamp
from tests.end_to_end.slurm_stage import Stage
from tests.end_to_end.slurm_training import create_demo_sweep

SWEEPS = ("full_lora", "qlora", "lora_ptq")
POINT_NAMES = ("model_variant", "quantization_strategy", "learning_rate")


def whole_demo(stage: Stage) -> dict[str, object]:
    """The demo's three sweeps, 15 grid points, through one array of four tasks."""
    project = "demo"
    sweeps = [create_demo_sweep(stage, name, project) for name in SWEEPS]
    began = time.monotonic()
    job = stage.submit(sweeps, array="0-3", time="01:00:00")
    stage.cluster.wait_for_end(job, timeout_s=1500)
    runs = [run for sweep in sweeps for run in stage.runs(sweep)]
    waited = sum(float(run.summary.get("train/waited_seconds") or 0) for run in runs)
    spent = sum(float(run.summary.get("train/own_gpu_seconds") or 0) for run in runs)
    values = [tuple(run.config[name] for name in POINT_NAMES) for run in runs]
    in_tasks, between = seconds_of_tasks(stage, job)
    return {
        "points": len(set(values)),
        "runs": len(runs),
        "states": dict(Counter(run.state for run in runs)),
        "pruned": sum("pruned" in run.tags for run in runs),
        "seconds": round(time.monotonic() - began, 1),
        "waiting_share": round(waited / spent, 4) if spent else None,
        "share_of_task_time_between_runs": round(between / in_tasks, 4),
        "share_of_task_time_on_device": round(spent / in_tasks, 4),  # training and scoring
    }


def seconds_of_tasks(stage: Stage, job: str) -> tuple[float, float]:
    """How long the tasks of an array ran, and how much of it no run was going on: starting agents,
    asking for work, and idle waiting.
    """
    lasted = between = 0.0
    for path in sorted((stage.directory / "logs").glob(f"{job}_*.log")):
        log = path.read_text()
        stamps = [timestamp(text) or 0.0 for text in re.findall(r"\[supervisor (\S+)\]", log)]
        begun = clock_times(log, "About to run command")
        ended = clock_times(log, "Cleaning up finished run")
        lasted += stamps[-1] - stamps[0]
        between += (stamps[-1] - stamps[0]) - (sum(ended) - sum(begun[: len(ended)]))
    return lasted, between


def clock_times(log: str, words: str) -> list[float]:
    """When the agent said something: `2026-01-31 12:00:00,123 - wandb.wandb_agent - INFO - …`."""
    found = re.findall(
        rf"^(\S+ \S+),(\d+) - wandb\.wandb_agent - INFO - {words}", log, re.MULTILINE
    )
    return [(timestamp(text) or 0.0) + int(ms) / 1000 for text, ms in found]
