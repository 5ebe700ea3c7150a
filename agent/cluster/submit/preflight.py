"""What can be known to fail before anything is created: asked here, on the login node."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from agent.cluster import slurm
from agent.cluster.options import ArrayOptions
from agent.cluster.submit.allocation import time_problem
from agent.cluster.submit.array import access_of
from agent.cluster.submit.disks import disk_problems
from agent.cluster.submit.submission import clean_environment
from agent.errors import ClusterError, ConfigError
from agent.tracking.login import check_login

_MODULES = "import importlib.util as u, sys; sys.exit(', '.join(n for n in ('agent', 'wandb', "
_MODULES += "'yaml', 'torch') if u.find_spec(n) is None) or 0)"
ASKING_S = 60.0


def ask_here(options: ArrayOptions, *, with_key: bool, unchecked: bool) -> None:
    """What a task will need, looked at from this node; the key only where there is a server yet."""
    environment = None
    if with_key:
        environment = access_of(options).environment(job_environment(os.environ))
    check(options, environment, home=Path.home(), unchecked=unchecked)


def check(
    options: ArrayOptions, environment: Mapping[str, str] | None, *, home: Path, unchecked: bool
) -> None:
    """ConfigError with every problem of time limit, disks, interpreter, modules, container and key.

    `environment` is what a task's agents will have, not this shell's; None where there is no server
    to ask. With `unchecked` nothing is tried that may exist on compute nodes only.
    """
    key = key_problem(environment, home) if environment is not None else None
    problems = [text for text in (time_problem(options), key) if text]
    problems += disk_problems(Path(options.state_dir), [Path(options.log).parent])
    if not unchecked:
        problems += _software_problems(options)
    if problems:
        raise ConfigError(problems, where="the submission; nothing was created")


def key_problem(environment: Mapping[str, str], home: Path) -> str | None:
    """Why a job would find no key that its server knows."""
    return check_login(environment, home).problem or None


def job_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of this shell a task sees with --export=NONE: neither a key nor a server's address."""
    return {name: environment[name] for name in ("HOME", "PATH") if name in environment}


def check_slurm(script: Path, directory: Path) -> str:
    """Let Slurm judge the job without submitting it; when it would start, in Slurm's own words.
    ClusterError, with what there is to choose from, when Slurm would refuse it.
    """
    words = ["sbatch", "--test-only", "--export=NONE", f"--chdir={directory}", str(script)]
    try:
        return slurm.call_with_errors(words, environment=clean_environment())
    except ClusterError as error:
        raise ClusterError(f"{error}{_choices(str(error))}; nothing was created") from None


def _choices(words: str) -> str:
    """What the cluster has of the thing that was refused."""
    for wanted, name, letter in (("partition", "partitions", "%R"), ("gres", "GPUs", "%G")):
        if wanted in words.lower():
            try:
                found = slurm.call(["sinfo", "-h", "-o", letter]).split()
            except ClusterError:
                return ""
            return f"; {name} here: {', '.join(dict.fromkeys(found))}"
    if "node configuration" in words:
        try:
            found = slurm.call(["sinfo", "-h", "-o", "%m MB, %c cores, %G"]).strip().splitlines()
        except ClusterError:
            return ""
        return f" (mem, cpus-per-task or gres); nodes here: {'; '.join(dict.fromkeys(found))}"
    return ""


def _software_problems(options: ArrayOptions) -> Iterator[str]:
    shell = _shell_problem(options)
    if shell:
        yield shell
    elif options.container:
        yield from _container_problem(options)
    elif options.python and os.sep in options.python:
        yield from _python_problem(options.python)


def _container_problem(options: ArrayOptions) -> Iterator[str]:
    """Its program, its image, and the interpreter in it, started once as a task starts it."""
    words = options.container.split()
    if shutil.which(words[0]) is None:
        yield f"container: no program {words[0]} here"
        return
    images = [word for word in words if word.endswith((".sif", ".img", ".sqsh"))]
    missing = [f"container: no image {word}" for word in images if not Path(word).exists()]
    yield from missing
    if not missing and (said := _modules_missing([*words, options.python or "python"])):
        yield (
            f"container = {options.container}: {options.python or 'python'} in it: {said}; "
            "--unchecked: only compute nodes can start it"
        )


def _modules_missing(python: list[str]) -> str:
    """What keeps an interpreter from running the project, in its own words; empty for nothing."""
    done = _run([*python, "-c", _MODULES], {**os.environ, "PYTHONPATH": str(Path.cwd())})
    if done is None:
        return "no answer"
    said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    known = ("agent", "wandb", "yaml", "torch")
    if done.returncode and all(word in known for word in said.split(", ")):
        return f"it has no module {said}: install the project's packages into it"
    return said if done.returncode else ""


def _python_problem(python: str) -> Iterator[str]:
    if not os.access(python, os.X_OK):
        yield f"python = {python}: no such program"
        return
    if said := _modules_missing([python]):
        yield f"python = {python}: {said}"


def _shell_problem(options: ArrayOptions) -> str:
    """Modules and set-up lines, tried in a login shell as the job has one."""
    lines = [f"module load {options.modules}"] if options.modules else []
    lines += options.setup
    if not lines:
        return ""
    name = "modules" if options.modules and not options.setup else "setup"
    clean = job_environment(os.environ)
    done = _run(["bash", "-lc", "set -eo pipefail\n" + "\n".join(lines)], clean)
    if done is not None and done.returncode == 0:
        return ""
    said = " ".join((done.stderr or done.stdout).split())[-200:] if done else "no answer"
    return f"{name}: {'; '.join(lines)} fails here: {said} (--unchecked: compute nodes have it)"


def _run(
    words: list[str], environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str] | None":
    try:
        return subprocess.run(
            words,
            env=environment,
            capture_output=True,
            text=True,
            timeout=ASKING_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError):
        return None
