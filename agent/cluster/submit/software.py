"""What a task starts, tried on the login node: set-up lines, container, interpreter, packages."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.cluster.options import ArrayOptions
from agent.cluster.submit.point_commands import executable_in, program_words

# The packages of the tasks themselves; more of what a program of this project imports, at its start
# or hours later; and of the server. A test compares them with the code and with pyproject.toml.
OF_AGENTS = ("agent", "wandb", "yaml")
OF_PROGRAM = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "optuna",
    "safetensors",
    "tokenizers",
    "pydantic",
    "numpy",
    "scipy",
    "datasets",
    "pyarrow",
    "json_repair",
)
OF_SERVER = ("starlette", "uvicorn", "graphql", "jinja2", "pydantic", "numpy", "scipy", "optuna")
# Looked for without importing any: that would take many seconds.
_FIND = "import importlib.util as u, sys; "
_FIND += "found = {n: u.find_spec(n) for n in sys.argv[1:]}; "
# A folder of that name is found, too, as wandb makes one in a project: it has no origin.
_FIND += "print('missing:', *(n for n, spec in found.items() if spec is None or not spec.origin))"
_WHICH = "import os, shutil, sys; path = os.pathsep.join([os.path.dirname(sys.executable), "
_WHICH += "os.environ.get('PATH', '')]); "
_WHICH += "print('missing:', *(n for n in sys.argv[1:] if shutil.which(n, path=path) is None))"
_IMPORTS_US = re.compile(r"^\s*(?:from|import) agent\b", re.MULTILINE)
_REACHED = "the end of the set-up lines"
ASKING_S = 60.0


@dataclass(frozen=True)
class Needed:
    """What tasks start, by name: Python packages, programs other than the interpreter, and other
    interpreters, by their paths."""

    modules: tuple[str, ...] = OF_AGENTS
    programs: tuple[str, ...] = ()
    interpreters: tuple[str, ...] = ()


def what_is_needed(
    sweeps: Iterable[Mapping[str, object]], directory: Path, *, serves: bool = False
) -> Needed:
    """Of tasks of these sweeps. All packages of the study where a program, a file of `directory`,
    is built on it. A sweep of which only the name is known, {}, runs train.py.
    """
    commands = [program_words(sweep) for sweep in sweeps]
    scripts = {word for words in commands for word in words if word.endswith(".py")}
    ours = OF_PROGRAM if any(_is_ours(directory / script) for script in scripts) else ()
    names = {executable_in(words) for words in commands} - {"", "python"}
    return Needed(
        tuple(dict.fromkeys([*OF_AGENTS, *ours, *(OF_SERVER if serves else ())])),
        tuple(sorted(name for name in names if os.sep not in name)),
        tuple(sorted(name for name in names if re.search(r"/python[\d.]*$", name))),
    )


def _is_ours(program: Path) -> bool:
    try:
        return _IMPORTS_US.search(program.read_text(encoding="utf-8")) is not None
    except (OSError, UnicodeDecodeError):
        return False


def job_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of this shell a task sees with --export=NONE: neither a key nor a server's address."""
    return {name: environment[name] for name in ("HOME", "PATH") if name in environment}


def software_problems(options: ArrayOptions, needed: Needed) -> Iterator[str]:
    """Why a task could not start its program: set-up lines, container, interpreter, a package or a
    program, tried on this node as a task does.
    """
    lines = [f"module load {options.modules}"] if options.modules else []
    lines += options.setup
    python = options.python or "python"
    if shell := _shell_problem(lines, "setup" if options.setup else "modules"):
        yield shell
        return
    if options.container:
        problems = list(_container_problem(options, needed.modules))
        start = [*options.container.split(), python]
    else:
        problems = list(_python_problem(python, lines, needed.modules))
        start = _after(lines, python)
    yield from problems
    if needed.programs and not problems:
        yield from _program_problems(start, needed.programs)
    if not options.container:  # of the program's packages, wandb in any case
        modules = [name for name in needed.modules if name not in ("agent", "yaml")]
        for path in needed.interpreters:
            if said := _missing([path], modules):
                yield f"command: {path}: {said}"


def _after(lines: Sequence[str], python: str) -> list[str]:
    """What starts the interpreter in a login shell that has run these lines."""
    check = 'command -v "$0" >/dev/null || { echo "no such program" >&2; exit 1; }'
    return ["bash", "-lc", "\n".join([*lines, check, '"$0" "$@"']), python]


def _program_problems(start: Sequence[str], programs: Sequence[str]) -> Iterator[str]:
    """Of those that an agent's `command` names, looked for where it looks: beside the interpreter,
    then in PATH."""
    done = _run([*start, "-c", _WHICH, *programs], job_environment(os.environ))
    answer = done.stdout.strip().splitlines()[-1:] if done is not None else []
    for name in answer[0].split()[1:] if answer and answer[0].startswith("missing:") else ():
        yield f"command: no program {name} here (--unchecked: compute nodes have it)"


def _container_problem(options: ArrayOptions, modules: Sequence[str]) -> Iterator[str]:
    """Its program, its image, and the interpreter in it, started once as a task starts it."""
    words = options.container.split()
    if shutil.which(words[0]) is None:
        yield f"container: no program {words[0]} here"
        return
    images = [word for word in words if word.endswith((".sif", ".img", ".sqsh"))]
    missing = [f"container: no image {word}" for word in images if not Path(word).exists()]
    yield from missing
    if not missing and (said := _missing([*words, options.python or "python"], modules)):
        yield (
            f"container = {options.container}: {options.python or 'python'} in it: {said}; "
            "--unchecked: only compute nodes can start it"
        )


def _missing(
    python: list[str], modules: Sequence[str], environment: Mapping[str, str] = os.environ
) -> str:
    """What keeps an interpreter from running the project, in its own words; empty for nothing."""
    done = _run([*python, "-c", _FIND, *modules], {**environment, "PYTHONPATH": str(Path.cwd())})
    if done is None:
        return "no answer"
    answer = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode or not answer.startswith("missing:"):
        return (done.stderr.strip().splitlines() or ["it is not a Python interpreter"])[-1]
    names = ", ".join(answer.split()[1:])
    return f"it has no module {names}: install the project's packages into it" if names else ""


def _python_problem(python: str, lines: list[str], modules: Sequence[str]) -> Iterator[str]:
    """Of a path, or of a name that a login shell knows after the set-up lines."""
    if os.sep in python:
        if not (os.access(python, os.X_OK) and Path(python).is_file()):
            yield f"python = {python}: no such program"
        elif said := _missing([python], modules):
            yield f"python = {python}: {said}"
        return
    if said := _missing(_after(lines, python), modules, job_environment(os.environ)):
        yield f"python = {python}: {said} (--unchecked: compute nodes have it)"


def _shell_problem(lines: list[str], name: str) -> str:
    """Modules and set-up lines, tried in a login shell as the job has one."""
    if not lines:
        return ""
    clean = job_environment(os.environ)
    script = "\n".join(["set -eo pipefail", *lines, 'printf "\\n%s" "$0"'])
    done = _run(["bash", "-lc", script, _REACHED], clean)
    if done is not None and done.returncode == 0 and done.stdout.endswith(_REACHED):
        return ""
    said = " ".join((done.stderr or done.stdout).split())[-200:] if done else "no answer"
    if done is not None and not said:
        said = f"exit status {done.returncode}"
    if done is not None and done.returncode == 0:
        said = "a line ends the shell, so that no task would start"
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
