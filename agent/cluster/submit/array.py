"""Sending the array job: the script written, submitted, recorded, and how to watch it said."""

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent import files
from agent.cluster.job_records import JobRecord, JobRecords
from agent.cluster.options import ArrayOptions
from agent.cluster.script import array_script
from agent.cluster.submit.allocation import task_ids
from agent.cluster.submit.submission import submit_script
from agent.tracking.endpoint import ServerAccess


def access_of(options: ArrayOptions) -> ServerAccess:
    return ServerAccess(
        options.base_url or None,
        Path(options.server_data) if options.server_data else None,
        Path(options.key_file) if options.key_file else None,
    )


def write_script(options: ArrayOptions, sweeps: Sequence[str]) -> Path:
    """The array's script, where it stays, and the directories that the job needs."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{files.unique_suffix()}"
    script = Path(options.state_dir) / "scripts" / f"{name}.sbatch"
    for directory in (script.parent, Path(options.log).parent):
        directory.mkdir(parents=True, exist_ok=True)
    files.write_atomically(script, array_script(options, sweeps))
    return script


def send(options: ArrayOptions, sweeps: list[str], *, chain: int = 1) -> list[str]:
    """Write the script, submit it and record each job before anything else; the job ids."""
    script = write_script(options, sweeps)
    records = JobRecords(Path(options.state_dir))

    def record(job: str) -> None:
        tasks = tuple(task_ids(options.array))
        records.save(JobRecord(job, tuple(sweeps), tasks, options.log, str(script), time.time()))

    return submit_script(script, chain=chain, directory=Path(options.project_dir), record=record)


def watching(jobs: list[str], options: ArrayOptions) -> list[str]:
    """The commands that watch and end these jobs, as they can be typed here."""
    chain = " ".join(jobs)
    log = options.log.replace("%A", jobs[0]).replace("%a", str(task_ids(options.array)[0]))
    shown: Mapping[str, str] = {
        "job": chain if len(jobs) == 1 else f"{chain} (each after the one before)",
        "watch": command("status --watch", options),
        "queue": f"squeue --jobs {','.join(jobs)}",
        "log": f"tail -f {shlex.quote(log)}",
        "cancel": f"scancel {chain}",
    }
    return [f"{name:>7}  {text}" for name, text in shown.items()]


def command(words: str, options: ArrayOptions) -> str:
    """A call of this program that reaches the same server and records."""
    parts = [f"sweep-agent {words}"]
    default = str(Path(options.project_dir or ".") / ArrayOptions().state_dir)
    for name in ("server_data", "base_url", "key_file", "state_dir"):
        value = getattr(options, name)
        if value and not (name == "state_dir" and value == default):
            parts.append(f"--{name.replace('_', '-')} {shlex.quote(value)}")
    return " ".join(parts)


def server_words(options: ArrayOptions) -> str:
    """What makes another program in this shell (`wandb`, `report`) talk to the sweeps' server."""
    if options.server_data:
        return f'eval "$(sweep-agent env --data {shlex.quote(options.server_data)})"; '
    words = f"WANDB_BASE_URL={shlex.quote(options.base_url)} " if options.base_url else ""
    if options.key_file:  # the file's name only: the shell reads the key
        words += f'WANDB_API_KEY="$(cat {shlex.quote(options.key_file)})" '
    return words


def tell(lines: Sequence[str]) -> None:
    """Print; a reader that has gone (head) changes nothing about what was done."""
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  # for the rest of the process
