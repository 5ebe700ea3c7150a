"""What can be known to fail before anything is created: asked here, on the login node."""

import dataclasses
import getpass
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from agent.cluster import slurm
from agent.cluster.options import ArrayOptions
from agent.cluster.submit.allocation import by_gpu_type, gpus_problem, time_problem
from agent.cluster.submit.array import access_of, write_script
from agent.cluster.submit.disks import disk_problems
from agent.cluster.submit.partitions import Wanted, check_partitions
from agent.cluster.submit.software import Needed, job_environment, software_problems
from agent.cluster.submit.submission import clean_environment
from agent.errors import ClusterError, ConfigError
from agent.tracking.login import check_login
from agent.tracking.notices import notice_url


def ask_here(options: ArrayOptions, needed: Needed, *, with_key: bool, unchecked: bool) -> None:
    """What a task will need, looked at from this node; the key only where there is a server yet."""
    environment = None
    if with_key:
        environment = access_of(options).environment(job_environment(os.environ))
    check(options, environment, needed, home=Path.home(), unchecked=unchecked)


def check(
    options: ArrayOptions,
    environment: Mapping[str, str] | None,
    needed: Needed,
    *,
    home: Path,
    unchecked: bool,
) -> None:
    """ConfigError with every problem of time limit, GPUs, places, interpreter, container and key,
    and of what a task needs to start.

    `environment` is what a task's agents will have, not this shell's; None where there is no server
    to ask. With `unchecked` nothing is tried that may exist on compute nodes only.
    """
    key = key_problem(environment, home) if environment is not None else None
    problems = [text for text in (time_problem(options), gpus_problem(options), key) if text]
    notice_url(options.notify)  # a file of it that cannot be used
    problems += _place_problems(options)
    problems += disk_problems(Path(options.state_dir), [Path(options.log).parent])
    if not unchecked:
        problems += software_problems(options, needed)
    if problems:
        raise ConfigError(problems, where="the submission (nothing was created)")


def _place_problems(options: ArrayOptions) -> Iterator[str]:
    """Why the directories of a submission cannot be made where they are meant to be."""
    log = Path(options.log)
    if log.is_dir():
        yield f"log = {log}: is a directory; name a file in it, such as {log}/%A_%a.log"
        log = log / "in it"
    elif len(slurm.task_ids(options.array)) > 1 and not re.search(r"%\d*[ajJ]", options.log):
        yield f"log = {log}: all tasks would write into one file; put %A_%a into its name"
    for name, directory in (("state_dir", Path(options.state_dir)), ("log", log.parent)):
        place = next(p for p in (directory, *directory.parents) if p.exists() or p.is_symlink())
        if not place.is_dir():
            yield f"{name} = {getattr(options, name)}: {place} is not a directory"
        elif not os.access(place, os.W_OK | os.X_OK):
            yield f"{name} = {getattr(options, name)}: nothing can be written in {place}"


def key_problem(environment: Mapping[str, str], home: Path) -> str | None:
    """Why a job would find no key that its server knows."""
    return check_login(environment, home).problem or None


def check_arrays(options: ArrayOptions, sweeps: Sequence[str], *, unchecked: bool) -> str:
    """`check_slurm` for the array of each type of GPU; Slurm's words on the first. Then, unless
    `unchecked`, the limits that Slurm applies only once the job waits.
    """
    words = []
    for part in by_gpu_type(options):
        script = write_script(part, sweeps)
        try:
            words.append(check_slurm(script, Path(options.project_dir)))
        finally:
            script.unlink()
    if not unchecked:
        names = [field.name for field in dataclasses.fields(Wanted)]
        check_partitions(Wanted(**{name: getattr(options, name) for name in names}))
    return words[0] if words else ""


def check_slurm(script: Path, directory: Path) -> str:
    """Let Slurm judge the job without submitting it; when it would start, in Slurm's own words.
    ClusterError, with what there is to choose from, when Slurm would refuse it.
    """
    words = ["sbatch", "--test-only", "--export=NONE", f"--chdir={directory}", str(script)]
    try:
        return slurm.call_with_errors(words, environment=clean_environment())
    except ClusterError as error:
        raise ClusterError(f"{error}{_choices(str(error))}; nothing was created") from None


_OWN = ["sacctmgr", "-nP", "show", "assoc", "user=$USER"]
# A word of Slurm's refusal, what it is about, and the command that lists what there is of it.
_CHOICES = (
    ("invalid partition", "partitions", ["sinfo", "-h", "-o", "%R"]),
    ("invalid account", "accounts", [*_OWN, "format=account"]),
    ("invalid qos", "qualities of service", [*_OWN, "format=qos"]),
    ("time limit", "partitions and their limits", ["sinfo", "-h", "-o", "%R %l"]),
    ("gres", "GPUs", ["sinfo", "-h", "-o", "%G"]),
    ("feature", "features", ["sinfo", "-h", "-o", "%f"]),
    ("reservation", "reservations", ["sinfo", "-h", "-T", "-o", "%i"]),
    ("node name", "nodes", ["sinfo", "-h", "-N", "-o", "%N"]),
    ("array", "the longest array", ["scontrol", "show", "config"]),
    ("node configuration", "nodes", ["sinfo", "-h", "-o", "%D with %m MB, %c cores, %G"]),
)


def _choices(words: str) -> str:
    """What the cluster has of the thing that was refused."""
    for wanted, name, command in _CHOICES:
        if wanted not in words.lower():
            continue
        try:
            rows = _rows(command)
        except (ClusterError, OSError, KeyError):  # without Slurm's answer, or a name for this user
            return ""
        hint = " (nodes, mem, cpus-per-task or gres)" if "configuration" in wanted else ""
        listed = ("; " if any("," in row for row in rows) else ", ").join(rows) or "none"
        return f"{hint}; {name} here: {listed}"
    return ""


def _rows(command: list[str]) -> list[str]:
    """What a command of Slurm lists, each once; of the configuration the longest array."""
    words = [f"user={getpass.getuser()}" if word == "user=$USER" else word for word in command]
    lines = [line.strip() for line in slurm.call(words).splitlines()]
    if command[0] == "scontrol":
        sizes = [line.split()[-1] for line in lines if line.startswith("MaxArraySize")]
        lines = [f"ids below {size}" for size in sizes]
    nothing = ("", "(null)", "No reservations in the system")  # as sinfo says it
    return list(dict.fromkeys(line for line in lines if line not in nothing))
