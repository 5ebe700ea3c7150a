"""What a user can choose about an array job; from flags, a profile file, or an edited script.

A profile is a small TOML file with the same names, so that a cluster's partition and account are
written down once: `sweep-agent submit --profile slurm/mine.toml sweeps/*.yaml`.
"""

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import ConfigError


def _option(text: str, default: Any, *, directive: str = "", pattern: str = "") -> Any:
    """`directive` is sbatch's long option; `pattern` what a value has to look like."""
    metadata = {"help": text, "directive": directive, "pattern": pattern}
    return dataclasses.field(default=default, metadata=metadata)


_WORD = r"[\w.,:;=@%+*/\[\]()&|!-]+"


@dataclass(frozen=True)
class ArrayOptions:
    """One array job. An empty string leaves an option to the cluster's own default."""

    # -- Slurm
    job_name: str = _option(
        "name in squeue", "sweep-agents", directive="job-name", pattern=r"[\w.-]+"
    )
    array: str = _option(
        "tasks, and with %N how many run at once",
        "0-3",
        directive="array",
        pattern=r"[0-9][0-9,-]*(:[0-9]+)?(%[0-9]+)?",
    )
    time: str = _option(
        "time limit", "04:00:00", directive="time", pattern=r"(\d+-)?\d+(:\d+){0,2}"
    )
    gres: str = _option("GPUs of one task", "gpu:1", directive="gres", pattern=_WORD)
    cpus_per_task: str = _option(
        "cores of one task", "8", directive="cpus-per-task", pattern=r"\d+"
    )
    mem: str = _option("memory of one task", "32G", directive="mem", pattern=r"\d+[KMGT]?")
    partition: str = _option("partition", "", directive="partition", pattern=_WORD)
    account: str = _option("account", "", directive="account", pattern=_WORD)
    qos: str = _option("quality of service", "", directive="qos", pattern=_WORD)
    constraint: str = _option("node features", "", directive="constraint", pattern=_WORD)
    exclude: str = _option("nodes to avoid", "", directive="exclude", pattern=_WORD)
    reservation: str = _option("reservation", "", directive="reservation", pattern=_WORD)
    log: str = _option(
        "log of each task; its directory has to exist",
        "slurm/logs/%A_%a.log",
        directive="output",
        pattern=r"[\w./%+@ -]+",
    )
    lead_s: str = _option(
        "seconds before the time limit at which runs save; checkpoint time + 60",
        "180",
        pattern=r"\d+",
    )
    # -- environment
    project_dir: str = _option("the project; empty: where sbatch was called", "")
    code_dir: str = _option("the code that runs; empty: the project itself", "")
    python: str = _option("interpreter; empty: .venv/bin/python if there is one", "")
    modules: str = _option("modules to load, separated by spaces", "", pattern=r"[\w./ +-]*")
    container: str = _option("words before the interpreter: apptainer exec --nv image.sif", "")
    extensions: str = _option(
        "modules of your own for SWEEP_AGENT_EXTENSIONS, separated by commas",
        "",
        pattern=r"[\w.]+(,[\w.]+)*",
    )
    key_file: str = _option("0600 file with the API key; empty: ~/.netrc", "")
    base_url: str = _option("a W&B server of your own; empty: W&B's cloud", "")
    server_data: str = _option("data directory of `sweep-agent serve`; empty: none", "")
    points: str = _option("a list of grid points to run instead of sweeps; empty: none", "")
    offline: str = _option("1: compute nodes reach no server; with points only", "", pattern="1?")
    state_dir: str = _option("claims, caches, W&B files; on shared storage", "outputs/cluster")
    # -- agents
    gpus_per_agent: str = _option("GPUs of one agent", "1", pattern=r"[1-9]\d*")
    agents_per_gpu: str = _option("agents that share a GPU", "1", pattern=r"[1-9]\d*")
    max_restarts: str = _option("requeues before a task gives up", "50", pattern=r"\d+")

    def __post_init__(self) -> None:
        problems = [
            f"{name} = {value!r}: {problem}"
            for name, value in dataclasses.asdict(self).items()
            if (problem := _problem_of(name, value))
        ]
        if problems:
            raise ConfigError(problems, where="the cluster options")


FIELDS = {field.name: field for field in dataclasses.fields(ArrayOptions)}


def _problem_of(name: str, value: object) -> str | None:
    if not isinstance(value, str):
        return "must be a word"
    if any(ord(letter) < 32 for letter in value):
        return "must not hold a line break"
    pattern = FIELDS[name].metadata["pattern"]
    if value and pattern and not re.fullmatch(pattern, value):
        return f"does not look like: {FIELDS[name].metadata['help']}"
    if not value and name in ("job_name", "array", "log", "state_dir"):
        return "must not be empty"
    return None


def parse_options(
    *layers: Mapping[str, object], where: str = "the cluster options"
) -> ArrayOptions:
    """Later layers win; None means not given. ConfigError names every unknown option."""
    merged: dict[str, str] = {}
    problems = []
    for layer in layers:
        for name, value in layer.items():
            key = name.replace("-", "_")
            if key not in FIELDS:
                problems.append(_unknown(name))
            elif isinstance(value, bool) or not isinstance(value, str | int | None):
                problems.append(f"{name} = {value!r}: must be a word or a whole number")
            elif value is not None:
                merged[key] = str(value)
    if problems:
        raise ConfigError(problems, where=where)
    return ArrayOptions(**merged)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.replace("-", "_"), FIELDS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown option {name!r}; {hint}valid: {', '.join(FIELDS)}"


def read_profile(path: Path) -> dict[str, object]:
    """The options of a profile file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise ConfigError([f"cannot be read: {reason}"], where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"is not TOML: {error}"], where=str(path)) from None
