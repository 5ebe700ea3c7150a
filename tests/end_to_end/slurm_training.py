"""Faults on real trainings: train.py and the demo model, on the real Slurm, through the store."""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import yaml

from agent import files
from agent.cluster.processes import is_running, read_stat
from agent.cluster.slurm import timestamp
from agent.cluster.submit.submission import create_sweep
from agent.demo.data import write_data
from tests.end_to_end.slurm_cluster import wait_until
from tests.end_to_end.slurm_stage import Stage

REPOSITORY = Path(__file__).parents[2]
END_TIMEOUT_S = 900


# Smaller than the demo's, so that many of them fit into one proof: about half a minute each.
SMALL = {"learning_rate": 0.002, "epochs": 12, "log_every_steps": 5, "batch_size": 8}
SMALL |= {"test_fraction": 0.6, "eval_examples": 32}
LONG = SMALL | {"epochs": 48}  # outlasts Slurm's next look at its limits


@dataclass(frozen=True)
class Outcome:
    """What became of one training under a fault."""

    fault: str
    run_state: str
    runs: int  # of the sweep of one point
    restarts: int
    logged_twice: int
    steps_logged: int
    weights: str  # sha256 of the last evaluation point's adapter
    saved_s: tuple[float, ...]  # from each notice to the end of saving
    foreign_writers: int  # evaluation points that do not follow their parent, or of an older term
    most_programs: int  # of the point, alive at the same moment
    at_once: tuple[str, ...]  # what they were, where there were several
    left_behind: int  # processes of its jobs that live on after the end
    back_s: float | None  # from the last start of its task to the start of its own run there
    first_step_s: float | None  # and to the first step that was logged there
    complaints: tuple[str, ...]  # lines of its logs that no user should see


def prepare_project(stage: Stage) -> None:
    """A copy of the code, which stays as it is meanwhile, and the demo's data."""
    shutil.copy(REPOSITORY / "train.py", stage.directory / "train.py")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "agent", stage.directory / "agent", ignore=ignored)
    write_data(stage.directory / "outputs/demo/data")
    stage.init_git("*.yaml", "*.sbatch")  # one snapshot serves every submission


def create_demo_sweep(stage: Stage, name: str, project: str, **values: object) -> str:
    """One of the demo's sweeps with a store of its own; `values` replace parameters."""
    path = write_demo_sweep(stage, name, project, **values)
    environment = {**os.environ, **stage.server_environment}
    return create_sweep(path, environment, entity=stage.entity, project=project)[0]


def write_demo_sweep(stage: Stage, name: str, project: str, **values: object) -> Path:
    """The file of such a sweep."""
    sweep = yaml.safe_load((REPOSITORY / "sweeps/demo" / f"{name}.yaml").read_text())
    given = {"store": str(stage.directory / "outputs" / f"store-{project}"), **values}
    for key, value in given.items():
        sweep["parameters"][key] = (
            {"values": value} if isinstance(value, list) else {"value": value}
        )
    path = stage.directory / f"{project}-{name}.yaml"
    path.write_text(yaml.safe_dump({**sweep, "project": project}))
    return path


def one_training(
    stage: Stage, project: str, fault: str, seed: int, *, length: Mapping[str, object] = SMALL
) -> Outcome:
    """A training of one grid point, hit by `fault` at a random moment; no fault for 'none'."""
    sweep = create_demo_sweep(stage, "full_lora", project, **length)
    jobs = start(stage, sweep, fault)
    store = stage.directory / "outputs" / f"store-{project}"
    with watched_programs(stage, project) as watch:
        wait_until(
            lambda: any(store.glob("*/eval-0001")), timeout_s=600, what=f"{project} to train"
        )
        time.sleep(random.Random(seed).uniform(0, 3))
        hit(stage, sweep, jobs[0], fault, project)
        stage.cluster.wait_for_end(*jobs, timeout_s=END_TIMEOUT_S)
    return look(stage, sweep, jobs, fault, project, watch)


def start(stage: Stage, sweep: str, fault: str) -> list[str]:
    """Submit one task for the sweep; the job ids, two where a chain is wanted."""
    options: dict[str, object] = {"array": "0-0", "time": "00:20:00", "lead_s": "60"}
    if fault == "requeue":
        return [stage.submit([sweep], **{**options, "partition": "scav"})]
    if fault != "cancel":
        return [stage.submit([sweep], **options)]
    flags = stage.flags(**{**options, "partition": "cancel"})
    shown = stage.command("submit", sweep, "--chain", "2", *flags).stdout
    line = next(line.split() for line in shown.splitlines() if line.split()[:1] == ["job"])
    jobs = [word for word in line if word.isdigit()]
    # Where requeueing is allowed a task requeues itself; here the chain has to help.
    stage.cluster.run("scontrol", "update", f"JobId={jobs[0]}", "Requeue=0")
    return jobs


@dataclass
class Watch:
    """The most programs of a point that were alive at the same moment, and which they were."""

    most: int = 0
    seen: tuple[str, ...] = ()


@contextlib.contextmanager
def watched_programs(stage: Stage, project: str) -> Iterator[Watch]:
    """Looks twice a second which programs of the project's point are alive and not stopped."""
    watch, ended = Watch(), threading.Event()

    def look_again() -> None:
        while not ended.wait(0.5):
            found = set(pids(stage, f"WANDB_PROJECT={project}\0", "train.py"))
            alive = [pid for pid in found if is_awake(pid) and not is_fork(pid, found)]
            if len(alive) > watch.most:
                watch.most, watch.seen = len(alive), tuple(map(described, alive))

    thread = threading.Thread(target=look_again, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


def described(pid: int) -> str:
    """A process in words: who started it, how it stands, what it is."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return f"{pid} {read_stat(pid)} {' '.join(words)[:120]}"
    return f"{pid} has gone"


def is_fork(pid: int, programs: set[int]) -> bool:
    """A child that a program has just forked bears its name until it becomes something else."""
    stat = read_stat(pid)
    return stat is None or stat.parent in programs


def is_awake(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is not None and stat.state not in ("Z", "X", "T")


def hit(stage: Stage, sweep: str, job: str, fault: str, project: str) -> None:
    """Let the fault happen."""
    node = stage.cluster.fields_of(f"{job}_0").get("NodeList", "")
    if fault in ("requeue", "cancel"):
        words = ["-p", "hi", "-w", node, "--gres=gpu:1", "-o", "/dev/null", "--wrap", "sleep 1"]
        other = stage.cluster.sbatch(*words, directory=stage.directory)
        stage.cluster.wait_for_state(other, "COMPLETED", timeout_s=120)
    elif fault == "limit":
        hit_with_limit(stage, job)
    elif fault in ("program", "agent"):
        text = f"WANDB_PROJECT={project}\0" if fault == "program" else f"{sweep}\0"
        for pid in pids(stage, text, "train.py" if fault == "program" else "--forward-signals"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    elif fault == "orphan":
        hit_with_orphan(stage, job, node, project)
    elif fault == "node":  # a power cut: nothing that ran there lives on
        running = pids(stage, f"SLURM_ARRAY_JOB_ID={job}\0", "")
        stage.cluster.kill_node(node)
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        stage.cluster.wait_for_restart(f"{job}_0")
        stage.cluster.start_node(node)


def hit_with_limit(stage: Stage, job: str) -> None:
    """Slurm looks at its limits every half minute: the notice comes within that, the kill later."""
    end = (datetime.now() + timedelta(seconds=45)).isoformat(timespec="seconds")
    stage.cluster.run("scontrol", "update", f"JobId={job}_0", f"EndTime={end}")
    stage.cluster.wait_for_restart(f"{job}_0")
    stage.cluster.run("scontrol", "update", f"JobId={job}_0", "TimeLimit=20")


def hit_with_orphan(stage: Stage, job: str, node: str, project: str) -> None:
    """The node is cut off and falls silent; what ran there wakes up after others took over."""
    orphans = pids(stage, f"SLURM_ARRAY_JOB_ID={job}\0", "")
    stage.cluster.kill_node(node)
    for pid in orphans:
        os.kill(pid, signal.SIGSTOP)
    try:
        stage.cluster.wait_for_restart(f"{job}_0")
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
    wait_until(
        lambda: not any(is_running(pid) for pid in orphans),
        timeout_s=60,
        what="the orphans to find out and leave",
    )


def look(
    stage: Stage, sweep: str, jobs: list[str], fault: str, project: str, watch: Watch
) -> Outcome:
    runs = stage.runs(sweep)
    rows = list(runs[0].scan_history(keys=["step", "_timestamp"]))
    logged = [int(row["step"]) for row in rows]
    log = "\n".join(stage.log_of(job) for job in jobs)
    began = start_of_last_life(stage, jobs)
    back = [t for t in times_of_run(log, runs[0].id) if began and t >= began]
    opened = opening_of_last_life(log)
    is_new = began is not None and opened >= began
    stepped = [float(row["_timestamp"]) for row in rows if is_new and row["_timestamp"] >= opened]
    store = stage.directory / "outputs" / f"store-{project}"
    points = sorted(store.glob("*/eval-*"))
    left = [pid for job in jobs for pid in pids(stage, f"SLURM_ARRAY_JOB_ID={job}\0", "")]
    return Outcome(
        fault=fault,
        run_state=runs[0].state,
        runs=len(runs),
        restarts=int(stage.cluster.fields_of(f"{jobs[0]}_0").get("Restarts", "0")),
        logged_twice=len(logged) - len(set(logged)),
        steps_logged=len(set(logged)),
        weights=files.sha256_of(next(points[-1].glob("adapter/*.safetensors"))),
        saved_s=seconds_to_saved(log),
        foreign_writers=broken_links(points),
        most_programs=watch.most,
        at_once=watch.seen if watch.most > 1 else (),
        left_behind=sum(is_awake(pid) for pid in left),
        back_s=round(back[0] - began, 2) if began and back else None,
        first_step_s=round(min(stepped) - began, 2) if began and stepped else None,
        complaints=tuple(complaints(log)),
    )


def start_of_last_life(stage: Stage, jobs: list[str]) -> float | None:
    """When Slurm started the task again, to the second; None when it had only one life."""
    fields = [stage.cluster.fields_of(f"{job}_0") for job in jobs]
    if len(jobs) == 1 and fields[0].get("Restarts", "0") == "0":
        return None
    return timestamp(fields[-1].get("StartTime", ""))


def times_of_run(log: str, run_id: str) -> list[float]:
    """When supervisors saw the run's program start: by an agent, or by themselves."""
    found = re.findall(rf"\[supervisor (\S+)\] worker \d+: run {run_id} of ", log)
    return [timestamp(text) or 0.0 for text in found]


def opening_of_last_life(log: str) -> float:
    """When the run was opened last, to the second: what came before may be an orphan's."""
    found = re.findall(r"saved locally in .*/(?:offline-)?run-(\d{8}_\d{6})-", log)
    return max(datetime.strptime(text, "%Y%m%d_%H%M%S").timestamp() for text in found)


def complaints(log: str) -> list[str]:
    """Lines of a task's log that no user should see: tracebacks, and what W&B threw away."""
    words = ("Traceback", "will be ignored", "monotonically increasing", "Exception ignored")
    return [line.strip() for line in log.splitlines() if any(word in line for word in words)]


def seconds_to_saved(log: str) -> tuple[float, ...]:
    """From the notice as the supervisor got it to the end of saving, for every notice."""
    notices = re.findall(
        r"\[supervisor (\S+)\] SIG\w+ received\n\[supervisor (\S+)\] worker \d+: SIGUSR2", log
    )
    delays = [(timestamp(b) or 0.0) - (timestamp(a) or 0.0) for a, b in notices]
    saved = [float(text) for text in re.findall(r"preempted: saved (\S+) s after the notice", log)]
    return tuple(a + b for a, b in zip(delays, saved, strict=False))


def broken_links(points: list[Path]) -> int:
    """Evaluation points whose parent is not the point before, or whose writer held an older term:
    the traces of a second writer.
    """
    broken, before, newest_term = 0, "", 0
    for point in points:
        manifest = point / "manifest.json"
        content = json.loads(manifest.read_text())
        term = int(str(content["writer"]).partition("-")[0])
        broken += bool(before and content["parent"] != before) or term < newest_term
        newest_term = max(term, newest_term)
        before = hashlib.sha256(manifest.read_bytes()).hexdigest()
    return broken


def pids(stage: Stage, environment: str, words: str) -> list[int]:
    """Live processes of this stage's jobs with one text in the environment or command line, and
    `words` in the latter. Other clusters on this machine number their jobs in the same way.
    """
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if not entry.name.isdigit():
                continue
            line = (entry / "cmdline").read_bytes()
            everything = line + (entry / "environ").read_bytes()
            wanted = (environment.encode(), f"SLURM_SUBMIT_DIR={stage.directory}\0".encode())
            if words.encode() in line and all(text in everything for text in wanted):
                found.append(int(entry.name))
    return found
