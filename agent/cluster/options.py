"""What a user can choose about an array job; from flags, a profile file, or an edited script.

A profile is a small TOML file with the same names, so that a cluster's partition and account are
written down once. It is found by itself: `slurm/profile.toml` of the project, else
`sweep-agent/profile.toml` in the user's configuration directory.
"""

import dataclasses
import datetime
import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import ConfigError


def _option(
    text: str,
    default: Any,
    *,
    directive: str = "",
    pattern: str = "",
    like: str = "",
    more: str = "",
) -> Any:
    """`directive` is sbatch's long option; `pattern` what a value has to look like, and `like` the
    same for people; `more` is what a flag's help says beside `text`.
    """
    names = {"directive": directive, "pattern": pattern, "like": like, "more": more}
    metadata = {"help": text, **names}
    return dataclasses.field(default=default, metadata=metadata)


_WORD = r"[\w.,:;=@%+*/\[\]()&|!-]+"
_GRES = r"[\w.,:;=@+*/\[\]()-]+(\|[\w.,:;=@+*/\[\]()-]+)*"
_LIMIT = r"(\d+-)?\d+(:\d+){0,2}|UNLIMITED|INFINITE"
_LIKE_LIMIT = "08:00:00, 2-12:00:00 (days-hours), or 90 (minutes)"
_WHOLE, _POSITIVE = "12, a whole number", "2, a whole number from 1 on"
_IDS = r"\d+(-\d+(:[1-9]\d*)?)?"
_URL = r"https?://[^\s/]+\S*"


@dataclass(frozen=True)
class ArrayOptions:
    """One array job. An empty string leaves an option to the cluster's own default."""

    # -- Slurm
    job_name: str = _option(
        "name in squeue",
        "sweep-agents",
        directive="job-name",
        pattern=r"[\w.-]+",
        like="my-study, one word",
    )
    array: str = _option(
        "tasks, and with %N how many run at once",
        "0-3",
        directive="array",
        pattern=rf"{_IDS}(,{_IDS})*(%\d+)?",
        like="0-7, 0-7%4 (four at once), or 1,3,5",
    )
    time: str = _option(
        "time limit", "04:00:00", directive="time", pattern=_LIMIT, like=_LIKE_LIMIT
    )
    gres: str = _option(
        "GPUs of one task",
        "gpu:1",
        directive="gres",
        pattern=_GRES,
        like="gpu:1, gpu:a100:2, or gpu:a100:1|gpu:h100:1",
        more="; gpu:a100:1|gpu:h100:1 sends an array for each type, and divides the tasks",
    )
    cpus_per_task: str = _option(
        "cores of one task", "8", directive="cpus-per-task", pattern=r"\d+", like=_WHOLE
    )
    mem: str = _option(
        "memory of one task", "32G", directive="mem", pattern=r"\d+[KMGTkmgt]?", like="32G or 900M"
    )
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
        pattern=r"[^\"'\\#]+",
    )
    sbatch: tuple[str, ...] = _option("any other option of sbatch, as KEY=VALUE or KEY", ())
    lead_s: str = _option(
        "seconds before the time limit at which runs save; checkpoint time + 60",
        "180",
        pattern=r"\d+",
        like=_WHOLE,
    )
    # -- environment
    project_dir: str = _option("the project; empty: where sbatch was called", "")
    code_dir: str = _option("the code that runs; empty: the project itself", "")
    python: str = _option(
        "interpreter; empty: the one that submits; in a plain script .venv/bin/python, else python",
        "",
    )
    modules: str = _option("modules to load, separated by spaces", "", pattern=r"[\w./ +-]*")
    setup: tuple[str, ...] = _option(
        "a line of shell run before the interpreter, such as 'conda activate study'", ()
    )
    container: str = _option("words before the interpreter: apptainer exec --nv image.sif", "")
    extensions: str = _option(
        "modules of your own for SWEEP_AGENT_EXTENSIONS, separated by commas",
        "",
        pattern=r"[\w.]+(,[\w.]+)*",
        like="my_dora,my_metrics",
    )
    key_file: str = _option("0600 file with the API key; empty: ~/.netrc", "")
    base_url: str = _option(
        "a W&B server of your own; empty: W&B's cloud",
        "",
        pattern=_URL,
        like="https://wandb.example.org",
    )
    server_data: str = _option("data directory of `sweep-agent serve`; empty: none", "")
    server_partition: str = _option(
        "partition of the server's job; empty: the cluster's default", "", pattern=_WORD
    )
    server_time: str = _option(
        "time limit of the server's job; empty: the partition's own",
        "",
        pattern=_LIMIT,
        like=_LIKE_LIMIT,
    )
    points: str = _option("a list of grid points to run instead of sweeps; empty: none", "")
    offline: str = _option(
        "1: compute nodes reach no server; with points only", "", pattern="1?", like="1, or empty"
    )
    state_dir: str = _option("claims, caches, W&B files; on shared storage", "outputs/cluster")
    notify: str = _option(
        "URL that gets a POST (JSON) when the sweeps have ended, or a 0600 file that holds it",
        "",
        pattern=rf"{_URL}|~?/.+",
        like="https://hooks.example.org/…, or /the/path/of/a/file that holds it",
    )
    # -- agents
    gpus_per_agent: str = _option(
        "GPUs of one agent; several start torchrun", "1", pattern=r"[1-9]\d*", like=_POSITIVE
    )
    agents_per_gpu: str = _option(
        "agents that share a GPU", "1", pattern=r"[1-9]\d*", like=_POSITIVE
    )
    max_restarts: str = _option(
        "requeues before a task gives up", "50", pattern=r"\d+", like=_WHOLE
    )
    idle_limit_s: str = _option(
        "seconds without a grid point after which a task leaves; empty: 120 on W&B's cloud, "
        "360 with a server of your own, which ends idle agents itself",
        "",
        pattern=r"\d+",
        like=_WHOLE,
    )

    def __post_init__(self) -> None:
        problems = [
            f"{name} = {shown!r}: {problem}"
            for name, value in dataclasses.asdict(self).items()
            for shown in (value if name in LISTS and isinstance(value, tuple) else (value,))
            if (problem := _problem_of(name, shown))
        ]
        if problems:
            raise ConfigError(problems, where="the cluster options")


FIELDS = {field.name: field for field in dataclasses.fields(ArrayOptions)}
SERVER_ONLY = ("server_partition", "server_time")  # not in the array's script
LISTS = tuple(name for name, field in FIELDS.items() if isinstance(field.default, tuple))
ACCESS = ("state_dir", "key_file", "base_url", "server_data")  # what reading the server takes
# What the script itself decides; another value would break preemption, logs or the key's secrecy.
_OURS = frozenset(
    [
        "export",
        "export-file",
        "signal",
        "requeue",
        "no-requeue",
        "open-mode",
        "wrap",
        "error",
        "parsable",
        "test-only",
        "chdir",
        "dependency",
        "wait",
        "input",
    ]
)
# A task is one program on one node: what more it held would idle.
_OF_ONE_TASK = {
    "nodes": r"1(-1)?",
    "ntasks": "1",
    "ntasks-per-node": "1",
    "ntasks-per-gpu": "1",
    "nodelist": r"[^,\[]+",  # every task would hold all of a list's nodes
}


def _problem_of(name: str, value: object) -> str | None:
    if name in LISTS:
        return _sbatch_problem(value) if name == "sbatch" else _line_problem(value)
    if not isinstance(value, str):
        return "must be a word"
    if any(ord(letter) < 32 for letter in value):
        return "must not hold a line break"
    pattern = FIELDS[name].metadata["pattern"]
    if value and pattern and not re.fullmatch(pattern, value):
        like = FIELDS[name].metadata["like"]
        return f"must look like {like}" if like else "must be one word, without spaces or quotes"
    if not value and name in ("job_name", "array", "log", "state_dir"):
        return "must not be empty"
    return None


def _line_problem(line: object) -> str | None:
    if not isinstance(line, str) or any(ord(letter) < 32 for letter in line):
        return "must be lines of text"
    return None


def _sbatch_problem(word: object) -> str | None:
    """`KEY=VALUE` or `KEY`, with sbatch's long name and without its two dashes."""
    if not isinstance(word, str) or not (found := re.fullmatch(_SBATCH, word)):
        return "must look like mail-type=FAIL: KEY=VALUE or KEY, without quotes"
    key = found.group(1)
    if key in _OURS:
        return f"{key} is the script's own: it would break preemption, the logs or the key"
    if key in _OF_ONE_TASK and not re.fullmatch(_OF_ONE_TASK[key], found.group(2) or ""):
        return "a task is one program on one node, the rest would idle; --array asks for more tasks"
    own = {field.metadata["directive"]: name for name, field in FIELDS.items()}
    own.pop("")  # of options that are not sbatch directives
    if key in own:
        return f"give it as --{own[key].replace('_', '-')}"
    names = () if key in _OF_ONE_TASK else (*_OURS, *own, *_OF_ONE_TASK)
    if longer := sorted(name for name in names if name.startswith(key)):
        return f"sbatch takes {key} for {' or '.join(longer)}; write the whole name of an option"
    return None


_SBATCH = r"([a-z][a-z0-9-]*)(?:=([^\"'#\\\x00-\x1f]+))?"


def parse_options(
    *layers: Mapping[str, object], where: str = "the cluster options"
) -> ArrayOptions:
    """Later layers win; None means not given. ConfigError names every unknown option."""
    merged: dict[str, Any] = {}
    problems = []
    for layer in layers:
        for name, value in layer.items():
            key = name.replace("-", "_")
            if key not in FIELDS:
                problems.append(_unknown(name))
            elif key in LISTS and value is not None:
                merged[key] = _words(value)
            elif isinstance(value, datetime.time | datetime.date):
                problems.append(f'{name} = {value}: put it in quotes, {name} = "{value}"')
            elif isinstance(value, bool) or not isinstance(value, str | int | None):
                problems.append(f"{name} = {value!r}: must be a word or a whole number")
            elif value is not None:
                merged[key] = str(value)
    if problems:
        raise ConfigError(problems, where=where)
    return ArrayOptions(**merged)


def _words(value: object) -> tuple[str, ...]:
    """A list of words; one word; or a table of them, as TOML has it."""
    if isinstance(value, Mapping):
        return tuple(name if each is True else f"{name}={each}" for name, each in value.items())
    if isinstance(value, str) or not isinstance(value, Iterable):
        return (str(value),)
    return tuple(map(str, value))


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.replace("-", "_"), FIELDS, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown option {name!r}; {hint}valid: {', '.join(FIELDS)}"


def find_profile(given: Path | None, project_dir: Path) -> Path | None:
    """The profile file to read: the one given, else the project's, else the user's."""
    if given is not None:
        return given
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    usual = (project_dir / "slurm" / "profile.toml", settings / "sweep-agent" / "profile.toml")
    return next((path for path in usual if path.is_file()), None)


def read_profile(path: Path) -> dict[str, object]:
    """The options of a profile file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise ConfigError([f"cannot be read: {reason}"], where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"is not TOML: {error}"], where=str(path)) from None
