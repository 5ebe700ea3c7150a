"""How the program of a grid point is called without an agent: the sweep's command, expanded."""

import json
import secrets
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from agent import files
from agent.cluster.claims import Claim
from agent.config.rules import unknown_name
from agent.errors import ConfigError
from agent.tracking.paths import split_path

DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
RUN_ID_LENGTH = 8  # as wandb makes them
_ALPHABET = string.ascii_lowercase + string.digits


def expand_command(
    command: Sequence[object] | None, program: str, values: Mapping[str, object], json_file: Path
) -> tuple[str, ...]:
    """W&B's macros, as its agent expands them. ConfigError for one that is not known."""
    words = {name: str(value) for name, value in values.items()}
    pairs = [f"{name}={word}" for name, word in words.items()]
    flags = {f"--{name}" if v is True else f"--{name}={v}": v for name, v in values.items()}
    macros: dict[str, list[str]] = {
        "env": ["/usr/bin/env"],
        "interpreter": ["python"],
        "program": [program],
        "args": [f"--{pair}" for pair in pairs],
        "args_no_equals": [part for name, word in words.items() for part in (f"--{name}", word)],
        "args_no_hyphens": pairs,
        "args_no_boolean_flags": [word for word, value in flags.items() if value is not False],
        "args_append_hydra": [f"+{pair}" for pair in pairs],
        "args_override_hydra": [f"++{pair}" for pair in pairs],
        "args_json": [json.dumps(dict(values))],
        "args_json_file": [str(json_file)],
    }
    expanded: list[str] = []
    for word in map(str, command or DEFAULT_COMMAND):
        is_macro = word.startswith("${") and word.endswith("}")
        if is_macro and word[2:-1] not in macros:
            hint = unknown_name(word[2:-1], macros, "macro").partition("; ")[2]
            raise ConfigError([f"command: {word} is not known here; {hint}"], where="the sweep")
        expanded += macros[word[2:-1]] if is_macro else [word]
    return tuple(expanded)


def program_words(sweep: Mapping[str, object]) -> tuple[str, ...]:
    """The words that start the program of any point of a sweep, without those of its values."""
    command = sweep.get("command")
    return expand_command(
        command if isinstance(command, list) else None,
        str(sweep.get("program", "train.py")),
        {},
        Path(),
    )


def executable_in(words: Sequence[str]) -> str:
    """What a command starts, behind `env NAME=VALUE`; empty where that cannot be told."""
    rest = list(words)
    if rest and Path(rest[0]).name == "env":
        rest = [word for word in rest[1:] if "=" not in word]
    return rest[0] if rest and not rest[0].startswith("-") else ""


def make_claim(
    sweep_path: str,
    sweep: Mapping[str, object],
    values: Mapping[str, object],
    *,
    run_id: str,
    directory: Path,
    work_dir: Path,
) -> Claim:
    """All that it takes to run one point. Its values are written below `directory`.

    `run_id` continues that run; an empty one makes a new run of the sweep.
    """
    entity, project, sweep_id = split_path(sweep_path)
    run_id = run_id or new_run_id()
    json_file, yaml_file = directory / f"{run_id}.json", directory / f"{run_id}.yaml"
    files.write_json(json_file, dict(values))
    described = {"wandb_version": 1, **{name: {"value": value} for name, value in values.items()}}
    files.write_atomically(yaml_file, yaml.safe_dump(described))
    command = sweep.get("command")
    return Claim(
        run_id=run_id,
        sweep=sweep_path,
        argv=expand_command(
            command if isinstance(command, list) else None,
            str(sweep.get("program", "train.py")),
            values,
            json_file,
        ),
        directory=str(work_dir),
        variables={
            "WANDB_RUN_ID": run_id,
            "WANDB_SWEEP_ID": sweep_id,
            "WANDB_ENTITY": entity,
            "WANDB_PROJECT": project,
            "WANDB_SWEEP_PARAM_PATH": str(yaml_file),
        },
    )


def new_run_id() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(RUN_ID_LENGTH))
