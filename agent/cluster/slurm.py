"""Slurm's commands, and what they print, as values.

Every call has a time limit: the clients hang when the controller is away.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.errors import ClusterError

TIMEOUT_S = 20.0

# JobState of `scontrol show job` after which the job will not run again by itself.
FINAL_STATES = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
)


@dataclass(frozen=True)
class Task:
    """One task of an array job as `squeue` shows it."""

    job: str  # 12_3, or 12_[0-7%4] for tasks that wait together
    name: str
    state: str
    node: str
    reason: str
    seconds_run: int
    seconds_left: int | None
    expected_end: str  # as Slurm prints it, local time; N/A while pending


def call(
    words: Sequence[str],
    *,
    timeout_s: float = TIMEOUT_S,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Standard output. ClusterError with the command's own words when it fails or is missing."""
    return _call(words, timeout_s, environment).stdout


def call_with_errors(words: Sequence[str], *, environment: Mapping[str, str]) -> str:
    """What the command says on both channels: `sbatch --test-only` answers on the second."""
    done = _call(words, TIMEOUT_S, environment)
    return done.stdout + done.stderr


def _call(
    words: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None
) -> "subprocess.CompletedProcess[str]":
    if shutil.which(words[0]) is None:
        raise ClusterError(
            f"{words[0]} is not installed here; run this on a login node of the Slurm cluster"
        )
    try:
        done = _run(words, timeout_s, environment)
        if done.returncode < 0:  # Slurm's SIGTERM goes to every process of a job, this one too
            done = _run(words, timeout_s, environment)
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"{words[0]} did not answer within {timeout_s:g} s; the Slurm controller may be down, "
            "try again in a minute"
        ) from None
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise ClusterError(f"{words[0]} refused: {_plain(reason, words[0])}")
    return done


def _plain(reason: str, program: str) -> str:
    """Slurm's words without the program's name before each of them."""
    return reason.replace(f"{program}: error: ", "").replace(f"{program}: ", "")


def _run(
    words: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        list(words),
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        process_group=0,  # a Ctrl-C is for the caller: a job half submitted would be lost
    )


def job_fields(job: str, *, timeout_s: float = TIMEOUT_S) -> dict[str, str]:
    """The fields of `scontrol show job`; empty when Slurm cannot be asked or knows no such job."""
    try:
        return parse_fields(
            call(["scontrol", "--oneliner", "show", "job", job], timeout_s=timeout_s)
        )
    except ClusterError:
        return {}


def partition_preempt_mode(partition: str, *, timeout_s: float = TIMEOUT_S) -> str:
    """REQUEUE, CANCEL, OFF, …; empty when unknown."""
    try:
        text = call(["scontrol", "--oneliner", "show", "partition", partition], timeout_s=timeout_s)
    except ClusterError:
        return ""
    return parse_fields(text).get("PreemptMode", "")


def parse_fields(text: str) -> dict[str, str]:
    """`scontrol --oneliner` prints KEY=VALUE words; a value may hold spaces. First record only."""
    line = text.strip().splitlines()[0] if text.strip() else ""
    starts = list(re.finditer(r"(?:^| )([A-Za-z][\w/:]*)=", line))
    ends = [*(match.start() for match in starts[1:]), len(line)][: len(starts)]
    return {
        match.group(1): line[match.end() : end].strip()
        for match, end in zip(starts, ends, strict=True)
    }


def timestamp(text: str) -> float | None:
    """Seconds since the epoch of Slurm's local `2026-01-31T12:00:00`; None for Unknown, None, …"""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def duration_s(text: str) -> int | None:
    """Seconds of Slurm's `[days-]hours:minutes:seconds`; None for UNLIMITED, INVALID, N/A."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def is_alive(job: str) -> bool:
    """False only when Slurm says that the job has ended or is unknown; True when in doubt."""
    try:
        text = call(["scontrol", "--oneliner", "show", "job", job])
    except ClusterError as error:
        return "Invalid job id" not in str(error)
    return parse_fields(text).get("JobState", "RUNNING") not in FINAL_STATES


QUEUE_FORMAT = "%i|%j|%T|%N|%r|%M|%L|%e"


def parse_queue(text: str) -> Iterator[Task]:
    """The lines of `squeue -h -o QUEUE_FORMAT`."""
    for line in text.splitlines():
        words = line.strip().split("|")
        if len(words) != 8:
            continue  # a job name with a bar in it: not one of ours
        job, name, state, node, reason, run, left, end = words
        yield Task(job, name, state, node, reason, duration_s(run) or 0, duration_s(left), end)


def queue(jobs: Sequence[str]) -> list[Task]:
    """The tasks of these jobs that Slurm still holds in its queue."""
    if not jobs:
        return []
    try:
        text = call(["squeue", "-h", "-r", "-o", QUEUE_FORMAT, "--jobs", ",".join(jobs)])
    except ClusterError as error:
        if "Invalid job id" in str(error):  # all of them have left the queue
            return []
        raise
    return list(parse_queue(text))


def at_work(jobs: Sequence[str]) -> set[str]:
    """Those of these jobs that have a task which waits or runs."""
    return {t.job.partition("_")[0] for t in queue(jobs) if t.state != "COMPLETING"}


@dataclass(frozen=True)
class Ending:
    """How a task ended, or stands, by Slurm."""

    state: str
    exit_status: str  # as Slurm prints it: status:signal
    node: str
    ran_s: float


def endings(job: str) -> dict[str, Ending]:
    """The tasks of an array by name; none when Slurm has forgotten the job, unless the site keeps
    accounts.
    """
    try:
        return parse_job(call(["scontrol", "--oneliner", "show", "job", job]))
    except ClusterError:
        pass
    if shutil.which("sacct") is None:
        return {}
    words = ["sacct", "-n", "-X", "-P", "-o", "JobID,State,ExitCode,NodeList,ElapsedRaw"]
    try:
        return parse_endings(call([*words, "--jobs", job]))
    except ClusterError:
        return {}


def log_path(pattern: str, job: str, task: int) -> str:
    """The log of an array's task: %A and %a of its pattern, which may have a width, as in %3a."""
    values = {"A": job, "a": str(task)}
    return re.sub(r"%(\d*)([Aa])", lambda m: values[m[2]].zfill(int(m[1] or 0)), pattern)


def task_ids(array: str) -> list[int]:
    """The ids of `0-7:2,9%4`; of a list that Slurm has cut off with `...`, those that it names."""
    found: list[int] = []
    for part in array.partition("%")[0].split(","):
        ends, _, step = part.partition(":")
        first, _, last = ends.partition("-")
        if first.isdigit():
            found += range(int(first), int(last or first) + 1, int(step or 1))
    return list(dict.fromkeys(found))


def parse_job(text: str) -> dict[str, Ending]:
    """The lines of `scontrol --oneliner show job ARRAY`: one a task that has started, and one for
    all that were cancelled before. Those that still wait are `queue`'s.
    """
    found = {}
    for line in text.splitlines():
        fields = parse_fields(line)
        if fields.get("JobState") == "PENDING":
            continue
        ending = Ending(
            fields.get("JobState", ""),
            fields.get("ExitCode", ""),
            fields.get("NodeList", "").replace("(null)", ""),
            float(duration_s(fields.get("RunTime", "")) or 0),
        )
        for task in task_ids(fields.get("ArrayTaskId", "")):
            found[f"{fields.get('ArrayJobId', '')}_{task}"] = ending
    return found


def parse_endings(text: str) -> dict[str, Ending]:
    """The lines of `sacct -P -o JobID,State,ExitCode,NodeList,ElapsedRaw`."""
    found = {}
    for line in text.splitlines():
        if line.count("|") != 4:
            continue
        name, state, code, node, ran = line.split("|")
        array, _, tasks = name.partition("_")  # 12_5, or 12_[0-3,7] of those that never started
        node = "" if node == "None assigned" else node
        ending = Ending(state.split()[0] if state else "", code, node, float(ran or 0))
        for task in task_ids(tasks.strip("[]")):
            found[f"{array}_{task}"] = ending
    return found


def accounted_gpu_hours(jobs: Sequence[str]) -> float | None:
    """GPU hours of these jobs by `sacct`; None where there is no accounting."""
    if not jobs or shutil.which("sacct") is None:
        return None
    words = ["sacct", "-n", "-X", "-P", "-o", "ElapsedRaw,AllocTRES", "--jobs", ",".join(jobs)]
    try:
        return parse_accounting(call(words))
    except ClusterError:
        return None  # "Slurm accounting storage is disabled"


def parse_accounting(text: str) -> float:
    """Lines of `sacct -P -o ElapsedRaw,AllocTRES`."""
    seconds = 0.0
    for line in text.splitlines():
        elapsed, _, resources = line.partition("|")
        gpus = re.search(r"gres/gpu=(\d+)", resources)
        seconds += int(elapsed or 0) * (int(gpus.group(1)) if gpus else 0)
    return seconds / 3600


def task_name(environment: Mapping[str, str]) -> str:
    """`12_3` for an array task, `12` for a plain job, `local` outside Slurm.

    The last task's SLURM_JOB_ID equals the array's, so that only the pair of array and task names
    a task.
    """
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    if array and task:
        return f"{array}_{task}"
    return environment.get("SLURM_JOB_ID", "local")
