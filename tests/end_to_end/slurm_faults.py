"""What a cluster does to a job, done on purpose, and what became of the run.

Each function starts an array of one task on a sweep of one point, lets the fault happen while the
point runs, waits for the end, and returns what was seen. They may run at the same time.
"""

import contextlib
import hashlib
import os
import signal
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from agent.cluster.submit.submission import create_sweep
from tests.end_to_end.slurm_cluster import wait_until
from tests.end_to_end.slurm_stage import Stage

REPOSITORY = Path(__file__).parents[2]
STEPS = 48
STEP_S = 0.25
LIMIT_STEPS = 160  # longer than it takes Slurm to look at its limits
END_TIMEOUT_S = 400


@dataclass(frozen=True)
class Outcome:
    """What became of one grid point."""

    run_state: str
    attempts: int  # how often its program was started
    restarts: int  # of the job
    run_ids: frozenset[str]
    logged_twice: int  # steps
    steps_logged: int
    same_weights: bool  # as an undisturbed run
    notice_to_saved_s: float | None
    overlaps: int  # of two live programs of the point
    job_state: str
    log: str


def preemption(stage: Stage, project: str, *, partition: str = "scav") -> Outcome:
    """A job of a higher partition takes the node away for a moment."""
    sweep, job = _begin(stage, project, partition=partition)
    _preempt(stage, job)
    return _end(stage, project, sweep, job)


def preemption_by_cancelling_with_chain(stage: Stage, project: str) -> tuple[Outcome, list[str]]:
    """Jobs are cancelled and may not be requeued: `submit --chain 3`, where the second job goes on
    and the third finds nothing left. Also the log of each job.
    """
    path = stage.write_sweep(project, 1, steps=STEPS, step_s=STEP_S)
    shown = stage.command(
        "submit", str(path), "--chain", "3", *stage.flags(array="0-0", partition="cancel")
    ).stdout
    words = next(line.split() for line in shown.splitlines() if line.split()[:1] == ["job"])
    jobs = [word for word in words if word.isdigit()]
    stage.cluster.run("scontrol", "update", f"JobId={jobs[0]}", "Requeue=0")
    _wait_for_steps(stage, project)
    _preempt(stage, jobs[0])
    outcome = _end(stage, project, stage.sweep_of(project), jobs[-1])
    return outcome, [stage.log_of(job) for job in jobs]


def preemption_by_cancelling(stage: Stage, project: str) -> Outcome:
    """Jobs are cancelled but may be requeued: the task asks for it before it is killed."""
    return preemption(stage, project, partition="cancel")


def requeue(stage: Stage, project: str) -> Outcome:
    """A person or the site has Slurm start the running task again."""
    sweep, job = _begin(stage, project)
    stage.cluster.run("scontrol", "requeue", f"{job}_0")
    return _end(stage, project, sweep, job)


def time_limit(stage: Stage, project: str) -> Outcome:
    """The limit of the first life is moved near. Slurm looks at its limits every half minute: the
    notice comes within that, and the kill later.
    """
    sweep, job = _begin(stage, project, steps=LIMIT_STEPS, time="00:10:00", lead_s="60")
    end = datetime.now() + timedelta(seconds=45)
    words = ["scontrol", "update", f"JobId={job}_0", f"EndTime={end.isoformat(timespec='seconds')}"]
    stage.cluster.run(*words)
    return _end(stage, project, sweep, job, steps=LIMIT_STEPS)


def cancellation(stage: Stage, project: str) -> tuple[Outcome, float]:
    """`scancel`; also the seconds until nothing of the job was left."""
    sweep, job = _begin(stage, project)
    began = time.monotonic()
    stage.cluster.run("scancel", job)
    wait_until(
        lambda: not processes_of(project, stage) and _has_left(stage, job),
        timeout_s=180,
        what="the job's processes to end",
    )
    return _outcome(stage, project, sweep, job), time.monotonic() - began


def edited_script(stage: Stage, project: str) -> Outcome:
    """The shipped script, edited at its top as people do who want no helper, with plain sbatch."""
    sweep = stage.create_sweep(1, steps=8, step_s=STEP_S, project=project)
    text = (REPOSITORY / "slurm/agents.sbatch").read_text()
    script = stage.directory / "agents.sbatch"
    edits = (("SERVER_DATA=", stage.server_data), ("PYTHON=", stage.python))
    for name, value in edits:
        text = text.replace(f"\n{name} ", f"\n{name}{value} ")
    script.write_text(text)
    words = ["--array=0-0", "--mem=500M", "--cpus-per-task=1", f"--output={stage.log_pattern}"]
    job = stage.cluster.sbatch(*words, str(script), sweep, directory=stage.directory)
    return _end(stage, project, sweep, job, steps=8)


def missing_data(stage: Stage, project: str, points: int = 6) -> tuple[str, list[Any]]:
    """The real train.py on a data set that is not there, more often than W&B's rule against
    flapping sweeps allows; the job's state and the runs.
    """
    path = stage.write_sweep(project, points, steps=1, step_s=1)
    sweep = yaml.safe_load(path.read_text())
    program = str(REPOSITORY / "train.py")
    sweep["command"] = ["${env}", "${interpreter}", program, "--config", "${args_json_file}"]
    sweep["parameters"]["dataset"] = {"value": "no/such/file.jsonl"}
    path.write_text(yaml.safe_dump(sweep))
    environment = {**os.environ, **stage.server_environment}
    created = create_sweep(path, environment, entity=stage.entity, project=project)[0]
    job = stage.submit([created], array="0-0")
    wait_until(lambda: _has_left(stage, job), timeout_s=END_TIMEOUT_S, what=f"job {job}")
    return stage.cluster.fields_of(f"{job}_0")["JobState"], stage.runs(created)


def killed_program(stage: Stage, project: str) -> Outcome:
    """`kill -9` of the grid point's program."""
    sweep, job = _begin(stage, project)
    for pid in processes_of(project, stage):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return _end(stage, project, sweep, job)


def killed_agent(stage: Stage, project: str) -> Outcome:
    """`kill -9` of the agent while its point runs."""
    sweep, job = _begin(stage, project)
    for pid in _pids_with(f"--forward-signals\0{sweep}"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return _end(stage, project, sweep, job)


def killed_node(stage: Stage, project: str) -> Outcome:
    """slurmd and its step daemon die; the program lives on as an orphan for a while."""
    sweep, job = _begin(stage, project)
    node = stage.cluster.fields_of(f"{job}_0")["NodeList"]
    stage.cluster.kill_node(node)
    stage.cluster.wait_for_restart(f"{job}_0", timeout_s=240)
    stage.cluster.start_node(node)
    return _end(stage, project, sweep, job)


# ---------------------------------------------------------------------- parts
def _begin(stage: Stage, project: str, *, steps: int = STEPS, **options: object) -> tuple[str, str]:
    """Sweep and job, once the point has made some steps."""
    sweep = stage.create_sweep(1, steps=steps, step_s=STEP_S, project=project)
    job = stage.submit([sweep], **{"array": "0-0", **options})
    _wait_for_steps(stage, project)
    return sweep, job


def _preempt(stage: Stage, job: str) -> None:
    """A job of a higher partition takes the node away for a moment."""
    node = stage.cluster.fields_of(f"{job}_0")["NodeList"]
    words = ["-p", "hi", "-w", node, "--gres=gpu:1", "-o", "/dev/null"]
    other = stage.cluster.sbatch(*words, "--wrap", "sleep 2", directory=stage.directory)
    stage.cluster.wait_for_state(other, "COMPLETED", timeout_s=180)


def _wait_for_steps(stage: Stage, project: str) -> None:
    wait_until(
        lambda: any(state["step"] >= 8 for state in stage.states(project)),
        timeout_s=240,
        what=f"first steps of {project}",
    )


def _end(stage: Stage, project: str, sweep: str, job: str, *, steps: int = STEPS) -> Outcome:
    wait_until(
        lambda: _has_left(stage, job), timeout_s=END_TIMEOUT_S, what=f"job {job} of {project}"
    )
    return _outcome(stage, project, sweep, job, steps=steps)


def _has_left(stage: Stage, job: str) -> bool:
    return not stage.cluster.run("squeue", "-h", "--jobs", job).strip()


def _outcome(stage: Stage, project: str, sweep: str, job: str, *, steps: int = STEPS) -> Outcome:
    (run,) = stage.runs(sweep)
    (state,) = stage.states(project)
    logged = [int(row["step"]) for row in run.scan_history(keys=["step"])]
    fields = stage.cluster.fields_of(f"{job}_0")
    return Outcome(
        run_state=run.state,
        attempts=len(state["lives"]),
        restarts=int(fields.get("Restarts", "0")),
        run_ids=frozenset(life[0] for life in state["lives"]),
        logged_twice=len(logged) - len(set(logged)),
        steps_logged=len(set(logged)),
        same_weights=state["weights"] == undisturbed_weights(0.001, steps),
        notice_to_saved_s=state.get("notice_to_saved_s"),
        overlaps=state.get("overlaps", 0),
        job_state=fields.get("JobState", ""),
        log=stage.log_of(job),
    )


def undisturbed_weights(rate: float, steps: int) -> str:
    """What slurm_point.py's running hash is when every step is made exactly once, in order."""
    weights = ""
    for step in range(steps):
        weights = hashlib.sha256(f"{weights}{step}{rate}".encode()).hexdigest()
    return weights


def processes_of(project: str, stage: Stage) -> list[int]:
    """The live programs of a project's grid points."""
    return _pids_with(f"WANDB_PROJECT={project}\0", where="environ", and_with="slurm_point.py")


def _pids_with(text: str, *, where: str = "cmdline", and_with: str = "") -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and text.encode() in (entry / where).read_bytes():
                words = (entry / "cmdline").read_bytes()
                alive = "Z" not in (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if alive and and_with.encode() in words:
                    found.append(int(entry.name))
    return found
