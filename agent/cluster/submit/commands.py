"""`sweep-agent submit`: sweeps to a running array with one command."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from agent import extensions
from agent.cluster import sweep_records
from agent.cluster.options import FIELDS, ArrayOptions, parse_options, read_profile
from agent.cluster.script import array_script
from agent.cluster.snapshot import freeze
from agent.cluster.submit.array import access_of, send
from agent.cluster.submit.points import points_of, submit_points
from agent.cluster.submit.server_job import start_server_job
from agent.cluster.submit.submission import (
    check_files,
    create_sweep,
    is_sweep_path,
    order_by_sharing,
)
from agent.cluster.sweep_records import SweepRecords
from agent.config import sweep_yaml
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
    parser.add_argument(
        "--offline",
        action="store_const",
        const="1",
        help="compute nodes reach no server: grids only, `wandb sync` afterwards",
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
    """Defaults, then the profile, then the flags, then what the command finds out itself.

    The extensions of this shell go along, because jobs do not inherit it; those that the options
    name are loaded here as well, so that the sweeps are checked with what will run them.
    """
    here = {"extensions": "".join(os.environ.get(extensions.VARIABLE, "").split()) or None}
    flags = {name: getattr(args, name, None) for name in FIELDS}
    profile = read_profile(args.profile) if args.profile else {}
    options = parse_options(here, profile, flags, derived, where="the cluster options")
    if options.extensions:
        os.environ[extensions.VARIABLE] = options.extensions
        extensions.load()
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
        {path: sweep_yaml.configs(sweep_yaml.load(path), where=str(path)) for path in paths}
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
    if args.offline:
        jobs = _submit_offline(files, options)
    else:
        jobs = send(options, list(files), chain=args.chain)
    for sweep, file in files.items():
        for job in jobs:
            records.add_job(sweep, job, file=file, snapshot=code_dir, log=options.log)
    return 0


def _submit_offline(files: Mapping[str, str], options: ArrayOptions) -> list[str]:
    """All points of the grids as a list; what the tasks leave on disk is synced later."""
    unknown = [sweep for sweep, file in files.items() if not file]
    if unknown:
        raise ConfigError(
            [f"{sweep}: give its YAML instead, offline tasks need its grid" for sweep in unknown],
            where="the submission",
        )
    sweeps = {path: sweep_yaml.load(Path(file)) for path, file in files.items()}
    jobs = submit_points(
        [
            (path, sweep, [(values, "") for values, _ in points_of(sweep, files[path])])
            for path, sweep in sweeps.items()
        ],
        options,
    )
    print(f"{'after':>7}  wandb sync {options.state_dir}/wandb/wandb/offline-run-*")
    return jobs
