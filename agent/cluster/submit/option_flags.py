"""The options of an array as flags of a command, and their values from all sources."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from agent import extensions
from agent.cluster.options import (
    FIELDS,
    LISTS,
    ArrayOptions,
    find_profile,
    parse_options,
    read_profile,
)

# Options of the script that submit finds out itself.
_DERIVED = ("project_dir", "code_dir", "points", "offline")


def add_unchecked(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unchecked",
        action="store_true",
        help="do not try interpreter, modules, set-up lines, container, data and the limits of "
        "partitions from this node",
    )


def add_option_arguments(
    parser: argparse.ArgumentParser, names: Sequence[str] = tuple(FIELDS)
) -> None:
    """One flag per option in `names`: those that have an effect on the command."""
    parser.add_argument(
        "--profile",
        type=Path,
        help="TOML file with options by name; else slurm/profile.toml, else "
        "~/.config/sweep-agent/profile.toml",
    )
    for name in names:
        field = FIELDS[name]
        if name in _DERIVED:
            continue
        flag = f"--{name.replace('_', '-')}"
        default = f" (default: {field.default})" if field.default else ""
        said = field.metadata["help"] + field.metadata["more"] + default
        text = said.replace("%", "%%")
        if name in LISTS:
            parser.add_argument(
                flag, action="append", metavar="LINE", help=f"{text}; may be repeated"
            )
        else:
            parser.add_argument(flag, help=text)


def options_of(args: argparse.Namespace, **derived: str) -> ArrayOptions:
    """Defaults, then the profile, then the flags, then what the command finds out itself.

    The extensions of this shell go along, because jobs do not inherit it; those that the options
    name are loaded here as well, so that the sweeps are checked with what will run them.
    """
    here = {"extensions": "".join(os.environ.get(extensions.VARIABLE, "").split()) or None}
    flags = {name: getattr(args, name, None) for name in FIELDS}
    path = find_profile(args.profile, Path.cwd())
    profile = read_profile(path) if path else {}
    if not any(layer.get("server_data") for layer in (profile, flags)):
        here["base_url"] = os.environ.get("WANDB_BASE_URL")  # where this shell's sweeps are made
    options = parse_options(here, profile, flags, derived, where="the cluster options")
    if options.extensions:
        os.environ[extensions.VARIABLE] = options.extensions
        extensions.load()
    return _with_absolute_paths(options)


def _with_absolute_paths(options: ArrayOptions) -> ArrayOptions:
    """`~` and relative paths mean the submitter's; the script runs elsewhere. The interpreter is
    the one that submits, unless a container or an activated environment brings its own.
    """
    changed: dict[str, object] = {}
    for name in ("key_file", "server_data", "state_dir", "log", "points"):
        value = getattr(options, name)
        if value:
            changed[name] = str(Path(value).expanduser().absolute())
    # %j names a task by a number of its own, which nothing else here knows it by.
    log = re.sub(r"%\d*[jJ]", "%A_%a", str(changed["log"]))
    changed["log"] = log.replace("%x", options.job_name)
    if options.notify.startswith("~"):
        changed["notify"] = str(Path(options.notify).expanduser())
    if not options.python:
        brings_its_own = options.container or any("activate" in line for line in options.setup)
        changed["python"] = "python" if brings_its_own else sys.executable
    return parse_options({name: getattr(options, name) for name in FIELDS}, changed)
