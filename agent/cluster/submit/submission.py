"""From sweep YAMLs to a running array: check, order, create, freeze, submit."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from agent.cluster import slurm
from agent.cluster.submit.plan import training_name
from agent.cluster.submit.point_commands import executable_in, program_words
from agent.config import sweep_yaml
from agent.config.run_config import RunConfig
from agent.errors import ClusterError, ConfigError
from agent.training import preflight

CREATE_TIMEOUT_S = 120.0
_NAME = r"[\w.-]+"
_SWEEP = re.compile(rf"{_NAME}/{_NAME}/[\w-]+")


def is_sweep_path(word: str) -> bool:
    """True for ENTITY/PROJECT/SWEEP, False for the file of a sweep."""
    return _SWEEP.fullmatch(word) is not None and not word.endswith((".yaml", ".yml"))


def each_once(paths: Iterable[Path]) -> list[Path]:
    """The first name of each file: given twice, its points would run twice."""
    return list({path.absolute(): path for path in reversed(list(paths))}.values())[::-1]


def check_files(paths: Sequence[Path]) -> None:
    """ConfigError that names every problem of all sweep files."""
    problems = [f"{path}: {text}" for path in paths for text in sweep_yaml.check(path)[1]]
    if problems:
        raise ConfigError(problems, where=f"{len(paths)} sweep file(s)")


def check_names(
    sweeps: Mapping[Path, Mapping[str, object]],
    environment: Mapping[str, str],
    *,
    entity: str | None,
    project: str | None,
) -> None:
    """ConfigError for an entity or project whose sweeps could not be named ENTITY/PROJECT/SWEEP.
    What counts is what `wandb sweep` takes: the flag, else the variable, else the file's.
    """
    problems = []
    for path, sweep in sweeps.items():
        place = _place(sweep, environment, entity=entity, project=project)
        problems += [
            f"{path}: {key} = {name!r}: must be one word of letters, digits, dots, dashes and "
            "underscores, no longer than 128"
            for key, name in place.items()
            if re.fullmatch(_NAME, name) is None or len(name) > 128  # as wandb has it
        ]
    if problems:
        raise ConfigError(problems, where="the submission (nothing was created)")


def check_programs(
    sweeps: Mapping[Path, Mapping[str, object]], project_dir: Path, *, elsewhere: bool = False
) -> None:
    """ConfigError for each sweep whose agents would start a `program`, or a script that its
    `command` names, that is not there: each of its runs would fail. With `elsewhere` absolute paths
    are not looked at: a container or a compute node may have them.
    """
    problems = []
    for path, sweep in sweeps.items():
        program, command = sweep.get("program"), sweep.get("command", ["${program}"])
        named = [str(word) for word in command] if isinstance(command, list) else []
        starts_it = "${program}" in named and isinstance(program, str)
        wanted = {str(program): "program = "} if starts_it else {}
        executable = executable_in(program_words(sweep))
        for word in named:
            is_script = word.endswith((".py", ".sh")) and word[0] != "-" and "=" not in word
            if is_script or (word == executable and os.sep in word):
                wanted[word] = "command: "
        problems += [
            f"{path}: {key}{word}: no such file in {project_dir}"
            for word, key in wanted.items()
            if not (elsewhere and Path(word).is_absolute()) and not (project_dir / word).exists()
        ]
    if problems:
        raise ConfigError(problems, where=f"{len(sweeps)} sweep file(s)")


def check_data(configs: Iterable[RunConfig]) -> None:
    """ConfigError for data and bases on this machine that cannot be used; those on the hub are
    looked at by `prepare`.
    """
    problems = preflight.unusable(configs)
    if problems:
        raise ConfigError(problems, where="the data of these sweeps")


def order_by_sharing(points: Mapping[Path, Sequence[RunConfig]]) -> list[Path]:
    """Sweeps whose trainings are new come first, those that only share them last.

    With fewest grid points per training first among equals: Full LoRA before LoRA+PTQ, which then
    finds every training in the store instead of waiting for one.
    """
    trainings = {
        path: {training_name(config) for config in configs} for path, configs in points.items()
    }
    by_density = sorted(points, key=lambda path: len(points[path]) / max(len(trainings[path]), 1))
    seen: set[str] = set()
    new: list[Path] = []
    shared: list[Path] = []
    for path in by_density:
        (shared if trainings[path] and trainings[path] <= seen else new).append(path)
        seen |= trainings[path]
    return [*new, *shared]


def create_sweep(
    path: Path,
    environment: Mapping[str, str],
    *,
    entity: str | None = None,
    project: str | None = None,
) -> tuple[str, str]:
    """ENTITY/PROJECT/SWEEP and its link, made by `wandb sweep`. ClusterError with its own words; a
    sweep that it made without saying where is taken back.
    """
    place = _place(sweep_yaml.load(path), environment, entity=entity, project=project)
    flags = [f"--{key}={name}" for key, name in place.items()]
    try:
        done = _run_wandb(["sweep", *flags, str(path)], environment)
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"wandb sweep {path} did not end within {CREATE_TIMEOUT_S:g} s; check WANDB_BASE_URL "
            "and the network"
        ) from None
    text = done.stdout + done.stderr
    try:
        return read_created_sweep(text, path)
    except ClusterError:
        if (made := re.search(r"sweep with ID: (?:\x1b\[[0-9;]*m)?([\w-]+)", text)) is None:
            raise
        gone = cancel_sweep(made.group(1), environment, flags)
        end = "it is canceled again" if gone else "cancel it by hand"
        raise ClusterError(
            f"wandb sweep {path} made sweep {made.group(1)} and did not say where; {end}"
        ) from None


def _place(
    sweep: Mapping[str, object],
    environment: Mapping[str, str],
    *,
    entity: str | None,
    project: str | None,
) -> dict[str, str]:
    """Where `wandb sweep` makes a sweep: by the flag given, else the variable, else the file."""
    names = {
        key: flag or environment.get(f"WANDB_{key.upper()}") or sweep.get(key)
        for key, flag in (("entity", entity), ("project", project))
    }
    return {key: str(name) for key, name in names.items() if name}


def read_created_sweep(text: str, path: Path) -> tuple[str, str]:
    """Find path and link in what `wandb sweep` printed. The path without an entity, where the
    account's own is taken, is completed from the link.
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    agent = re.search(rf"wandb agent (?:\S+ )*?({_SWEEP.pattern})\s*$", text, re.MULTILINE)
    parts = re.search(rf"https?://\S+/({_NAME})/({_NAME})/sweeps/([\w-]+)", text)
    if agent is None and parts is None:
        lines = [line.removeprefix("wandb: ").strip() for line in text.splitlines()]
        said = " ".join(line for line in lines if line)
        reason = said.rpartition("Error: ")[2][-400:] or "it printed nothing"
        raise ClusterError(f"wandb sweep {path} made no sweep: {reason}")
    name = agent.group(1) if agent else "/".join(parts.groups()) if parts else ""
    link = re.search(r"https?://\S+/sweeps/\S+", text)
    return name, link.group(0) if link else ""


def _run_wandb(
    words: Sequence[str], environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """A command of wandb that a Ctrl-C in this shell does not reach: it ends what it began."""
    return subprocess.run(
        [sys.executable, "-m", "wandb", *words],
        # What it prints is read, so it must not be silenced.
        env={**environment, "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "false"},
        capture_output=True,
        text=True,
        timeout=CREATE_TIMEOUT_S,
        check=False,
        process_group=0,
    )


def submit_script(
    script: Path, *, chain: int, directory: Path, record: Callable[[str], None]
) -> list[str]:
    """The job ids: one, or `chain` of them, each starting after the one before has ended; each is
    recorded as soon as there is one. All are cancelled when Slurm refuses one of them.

    The environment loses every SBATCH_ variable, which would silently override the script, and
    the API key, which Slurm would store.
    """
    jobs: list[str] = []
    for _ in range(chain):
        words = ["sbatch", "--parsable", "--export=NONE", f"--chdir={directory}"]
        if jobs:
            words.append(f"--dependency=afterany:{jobs[-1]}")
        try:
            jobs.append(call_sbatch([*words, str(script)]))
            record(jobs[-1])
        except BaseException:
            if jobs:
                slurm.call(["scancel", *jobs])
            raise
    return jobs


def call_sbatch(words: Sequence[str]) -> str:
    """Submit without SBATCH_ variables and without the key in the environment; the job id."""
    text = slurm.call(words, environment=clean_environment())
    return text.strip().split(";")[0]


def clean_environment() -> dict[str, str]:
    """This shell's, without what would override the script, tell Slurm the key, or, of a shell in
    a job, reach the new job as its own: its count of restarts.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SBATCH_") and name not in ("WANDB_API_KEY", "SLURM_RESTART_COUNT")
    }


def cancel_sweep(sweep: str, environment: Mapping[str, str], flags: Sequence[str] = ()) -> bool:
    """Take a sweep back that no job works on: canceled, so that no run follows or competes with
    its points. False when the server did not do it.
    """
    try:
        return _run_wandb(["sweep", *flags, "--cancel", sweep], environment).returncode == 0
    except subprocess.TimeoutExpired:
        return False
