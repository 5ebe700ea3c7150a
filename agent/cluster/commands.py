"""`sweep-agent submit`: sweeps to a running array with one command."""

import argparse
import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path

from agent import sweep_files
from agent.cluster import sweep_records
from agent.cluster.options import FIELDS, ArrayOptions, parse_options, read_profile
from agent.cluster.script import array_script
from agent.cluster.server_access import ServerAccess
from agent.cluster.server_job import start_server_job
from agent.cluster.snapshot import freeze
from agent.cluster.submission import (
    check_files,
    create_sweep,
    is_sweep_path,
    order_by_sharing,
    submit_script,
)
from agent.cluster.sweep_records import SweepRecords
from agent.errors import ConfigError

# Options of the script that submit finds out itself.
_DERIVED = ("project_dir", "code_dir", "points", "offline")


def add_submit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sweeps", nargs="+", metavar="SWEEP", help="sweep YAMLs to create, or ENTITY/PROJECT/SWEEP"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the script, submit nothing")
    parser.add_argument("--profile", type=Path, help="TOML file with the options below by name")
    parser.add_argument("--entity", help="of the sweeps to create")
    parser.add_argument("--project", help="of the sweeps to create; else the YAML's")
    parser.add_argument(
        "--chain",
        type=int,
        default=1,
        metavar="N",
        help="jobs, each after the one before (afterany)",
    )
    parser.add_argument("--no-snapshot", action="store_true", help="run the working tree itself")
    parser.add_argument(
        "--allow-new-code", action="store_true", help="let a sweep go on with other code"
    )
    parser.add_argument(
        "--serve-in-job",
        action="store_true",
        help="run the sweep server as a small CPU job; its data in --server-data",
    )
    add_option_arguments(parser)


def add_option_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag per option of the array script."""
    for name, field in FIELDS.items():
        if name not in _DERIVED:
            default = f" (default: {field.default})" if field.default else ""
            text = (field.metadata["help"] + default).replace("%", "%%")
            parser.add_argument(f"--{name.replace('_', '-')}", help=text)


def options_of(args: argparse.Namespace, **derived: str) -> ArrayOptions:
    """Defaults, then the profile, then the flags, then what the command finds out itself."""
    flags = {name: getattr(args, name, None) for name in FIELDS}
    profile = read_profile(args.profile) if args.profile else {}
    options = parse_options(profile, flags, derived, where="the cluster options")
    return _with_absolute_paths(options)


def _with_absolute_paths(options: ArrayOptions) -> ArrayOptions:
    """`~` and relative paths mean the submitter's; the script runs elsewhere."""
    changed: dict[str, object] = {}
    for name in ("key_file", "server_data", "state_dir", "log", "points"):
        value = getattr(options, name)
        if value:
            changed[name] = str(Path(value).expanduser().absolute())
    return parse_options({name: getattr(options, name) for name in FIELDS}, changed)


def run_submit(args: argparse.Namespace) -> int:
    if args.chain < 1:
        raise ConfigError([f"chain = {args.chain}: must be 1 or more"], where="the submission")
    project_dir = Path.cwd()
    options = options_of(args, project_dir=str(project_dir))
    given = [word for word in args.sweeps if is_sweep_path(word)]
    paths = [Path(word) for word in args.sweeps if not is_sweep_path(word)]
    check_files(paths)
    ordered = order_by_sharing(
        {path: sweep_files.configs(sweep_files.load(path), where=str(path)) for path in paths}
    )
    if args.dry_run:
        names = [*given, *(f"ENTITY/PROJECT/SWEEP-OF-{path.stem}" for path in ordered)]
        print(array_script(options, names), end="")
        return 0
    records = SweepRecords(Path(options.state_dir))
    code_dir = ""
    if not args.no_snapshot:
        code_dir = str(freeze(project_dir, Path(options.state_dir) / "snapshots")[0])
        options = options_of(args, project_dir=str(project_dir), code_dir=code_dir)
        sweep_records.check_same_code(
            (records.find(sweep) for sweep in given), code_dir, allow_new_code=args.allow_new_code
        )
    if args.serve_in_job:
        start_server_job(options)
    environment = access_of(options).environment(os.environ)
    files = dict.fromkeys(given, "")
    for path in ordered:
        sweep, link = create_sweep(path, environment, entity=args.entity, project=args.project)
        files[sweep] = str(path.absolute())
        print(f"{path}: {sweep}  {link}".rstrip())
    jobs = send(options, list(files), chain=args.chain)
    for sweep, file in files.items():
        for job in jobs:
            records.add_job(sweep, job, file=file, snapshot=code_dir, log=options.log)
    return 0


def access_of(options: ArrayOptions) -> ServerAccess:
    return ServerAccess(
        options.base_url or None,
        Path(options.server_data) if options.server_data else None,
        Path(options.key_file) if options.key_file else None,
    )


def send(options: ArrayOptions, sweeps: list[str], *, chain: int = 1) -> list[str]:
    """Write the script, submit it, say how to watch it; the job ids."""
    state_dir = Path(options.state_dir)
    script = state_dir / "scripts" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.sbatch"
    for directory in (script.parent, Path(options.log).parent):
        directory.mkdir(parents=True, exist_ok=True)
    script.write_text(array_script(options, sweeps), encoding="utf-8")
    jobs = submit_script(script, chain=chain, directory=Path(options.project_dir))
    print_commands(jobs, options)
    return jobs


def print_commands(jobs: list[str], options: ArrayOptions) -> None:
    chain = " ".join(jobs)
    log = options.log.replace("%A", jobs[0]).replace("%a", "0")
    shown: Mapping[str, str] = {
        "job": chain if len(jobs) == 1 else f"{chain} (each after the one before)",
        "watch": "sweep-agent status",
        "queue": f"squeue --jobs {','.join(jobs)}",
        "log": f"tail -f {shlex.quote(log)}",
        "cancel": f"scancel {chain}",
    }
    for name, text in shown.items():
        print(f"{name:>7}  {text}")
