"""Sending the array job: the script written, submitted, recorded, and how to watch it said."""

import dataclasses
import hashlib
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent import files
from agent.cluster import slurm
from agent.cluster.job_records import JobRecord, JobRecords
from agent.cluster.options import ACCESS, FIELDS, SERVER_ONLY, ArrayOptions
from agent.cluster.script import array_script
from agent.cluster.submit.allocation import by_gpu_type
from agent.cluster.submit.submission import submit_script
from agent.tracking.endpoint import ServerAccess

# Options that are of one submission, or of reading the server as every command does.
_NOT_AGAIN = frozenset([*ACCESS, *SERVER_ONLY, "project_dir", "code_dir", "points", "notify"])
_ONCE = ("begin", "deadline", "hold")  # of sbatch, the same


@dataclass(frozen=True)
class Sent:
    """An array that Slurm has taken: its job and those of its chain."""

    jobs: list[str]
    options: ArrayOptions


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
    files.write_atomically(script, array_script(without_secret(options), sweeps))
    return script


def without_secret(options: ArrayOptions) -> ArrayOptions:
    """With the file that holds the URL of the notice in place of the URL: Slurm shows a script and
    the words of a process to other users.
    """
    if not options.notify.startswith("http"):
        return options
    return dataclasses.replace(options, notify=str(_notice_file(options)))


def _notice_file(options: ArrayOptions) -> Path:
    name = hashlib.sha256(options.notify.encode()).hexdigest()[:16]
    return Path(options.state_dir).absolute() / "notify" / name


def _keep_secret(options: ArrayOptions) -> None:
    if options.notify.startswith("http"):
        path = _notice_file(options)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, f"{options.notify}\n", mode=0o600)


def send(
    options: ArrayOptions, sweeps: list[str], *, chain: int = 1, choices: Mapping[str, object]
) -> list[str]:
    """Write the script, submit it and record each job before anything else; the job ids.

    `choices` are those of the submission, which may be of several arrays.
    """
    _keep_secret(options)
    script = write_script(options, sweeps)
    records = JobRecords(Path(options.state_dir))

    def record(job: str) -> None:
        tasks = tuple(slurm.task_ids(options.array))
        sent_at = time.time()
        records.save(
            JobRecord(job, tuple(sweeps), tasks, options.log, str(script), sent_at, choices)
        )

    return submit_script(script, chain=chain, directory=Path(options.project_dir), record=record)


def send_all(options: ArrayOptions, sweeps: list[str], *, chain: int = 1) -> list[Sent]:
    """`send` an array for each type of GPU; when one is refused, those before it are cancelled."""
    sent: list[Sent] = []
    try:
        for part in by_gpu_type(options):
            jobs = send(part, sweeps, chain=chain, choices=choices_of(options))
            sent.append(Sent(jobs, part))
    except BaseException:
        if sent:
            slurm.call(["scancel", *jobs_of(sent)])
        raise
    return sent


def jobs_of(sent: Sequence[Sent]) -> list[str]:
    return [job for each in sent for job in each.jobs]


def watching(sent: Sequence[Sent]) -> list[str]:
    """The commands that watch and end these jobs, as they can be typed here."""
    jobs = jobs_of(sent)
    first, options = sent[0].jobs[0], sent[0].options
    log = slurm.log_path(options.log, first, slurm.task_ids(options.array)[0])
    shown = [
        *(("job", _words_of(each, len(sent) > 1)) for each in sent),
        ("watch", command("status --watch", options)),
        ("queue", f"squeue --jobs {','.join(jobs)}"),
        ("log", f"tail -f {shlex.quote(log)}"),
        ("cancel", f"scancel {' '.join(jobs)}"),
    ]
    return [f"{name:>7}  {text}" for name, text in shown]


def _words_of(sent: Sent, is_one_of_several: bool) -> str:
    words = " ".join(sent.jobs)
    if len(sent.jobs) > 1:
        words += " (each after the one before)"
    tasks = len(slurm.task_ids(sent.options.array))
    return f"{words} ({tasks} task(s) on {sent.options.gres})" if is_one_of_several else words


def command(words: str, options: ArrayOptions) -> str:
    """A call of this program that reaches the same server and records."""
    parts = [f"sweep-agent {words}"]
    default = str(Path(options.project_dir or ".") / ArrayOptions().state_dir)
    for name in ("server_data", "base_url", "key_file", "state_dir"):
        value = getattr(options, name)
        if value and not (name == "state_dir" and value == default):
            parts.append(f"--{name.replace('_', '-')} {shlex.quote(value)}")
    return " ".join(parts)


def choices_of(options: ArrayOptions) -> dict[str, object]:
    """What differs from the defaults, of the options that a submission of the rest needs again.
    Without `notify`: its address is a secret.
    """
    values = {name: getattr(options, name) for name in FIELDS if name not in _NOT_AGAIN}
    values["sbatch"] = tuple(w for w in options.sbatch if w.partition("=")[0] not in _ONCE)
    return {name: value for name, value in values.items() if value != FIELDS[name].default}


def flags_again(choices: Mapping[str, object], usual: ArrayOptions) -> str:
    """The flags that make `usual`, from the profile of now, those choices."""
    words = []
    for name in FIELDS:
        value = choices.get(name, FIELDS[name].default)
        if name in _NOT_AGAIN or _as_words(value) == _as_words(getattr(usual, name)):
            continue
        if name == "offline":
            words += ["--offline"] if value else []
            continue
        words += [f"--{name.replace('_', '-')} {shlex.quote(each)}" for each in _as_words(value)]
    return " ".join(words)


def _as_words(value: object) -> list[str]:
    return [str(value)] if not isinstance(value, list | tuple) else [str(each) for each in value]


def server_words(options: ArrayOptions) -> str:
    """What makes another program in this shell (`wandb`, `report`) talk to the sweeps' server."""
    if options.server_data:
        return f'eval "$(sweep-agent env --data {shlex.quote(options.server_data)})"; '
    words = f"WANDB_BASE_URL={shlex.quote(options.base_url)} " if options.base_url else ""
    if options.key_file:  # the file's name only: the shell reads the key
        words += f'WANDB_API_KEY="$(cat {shlex.quote(options.key_file)})" '
    return words


def scheduler_command(sweep: str, options: ArrayOptions) -> str:
    """What proposes the points of a sweep that has a scheduler: one process beside the array."""
    return f"{server_words(options)}wandb sweep-scheduler {shlex.quote(sweep)}"


def sync_command(options: ArrayOptions) -> str:
    """With the server: the runs know their sweep, but not where it lives. One by one: a run that
    was cut off cannot be read, and `wandb sync` sends none of those that it is given with it.
    """
    runs = f"{shlex.quote(options.state_dir)}/wandb/wandb -name 'offline-run-*' -prune"
    return f"{server_words(options)}find {runs} -exec wandb sync {{}} ';'"


def tell(lines: Sequence[str]) -> None:
    """Print; a reader that has gone (head) changes nothing about what was done."""
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  # for the rest of the process
