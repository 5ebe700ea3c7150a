"""`sweep-agent submit`: sweeps to a running array with one command."""

import argparse
import dataclasses
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.cluster import slurm, sweep_records
from agent.cluster.options import ArrayOptions
from agent.cluster.script import array_script
from agent.cluster.snapshot import describe, freeze
from agent.cluster.submit import preflight
from agent.cluster.submit.allocation import by_gpu_type, fitting_array, total
from agent.cluster.submit.array import (
    access_of,
    jobs_of,
    scheduler_command,
    send_all,
    sync_command,
    tell,
    watching,
    without_secret,
)
from agent.cluster.submit.option_flags import (
    add_option_arguments,
    add_unchecked,
    options_of,
)
from agent.cluster.submit.partitions import check_partitions
from agent.cluster.submit.points import (
    check_ends,
    check_lists,
    points_of,
    points_to_run,
    submit_points,
)
from agent.cluster.submit.server_job import (
    check_server_options,
    start_server_job,
    wanted_by_server,
    write_server_script,
)
from agent.cluster.submit.software import Needed, what_is_needed
from agent.cluster.submit.submission import (
    cancel_sweep,
    check_data,
    check_files,
    check_names,
    check_programs,
    create_sweep,
    each_once,
    is_sweep_path,
    order_by_sharing,
)
from agent.cluster.sweep_records import SweepRecord, SweepRecords
from agent.config import sweep_yaml
from agent.errors import ConfigError
from agent.signals import signals_wait
from agent.tracking.reader import Reader


def add_submit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sweeps", nargs="+", metavar="SWEEP", help="sweep YAMLs to create, or ENTITY/PROJECT/SWEEP"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check all, ask Slurm, print the script; no more"
    )
    add_unchecked(parser)
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
        "--endless",
        action="store_true",
        help="take a random or bayes search without run_cap, which runs until it is stopped",
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


def run_submit(args: argparse.Namespace) -> int:
    if args.chain < 1:
        raise ConfigError([f"chain = {args.chain}: must be 1 or more"], where="the submission")
    project_dir = Path.cwd()
    options = options_of(args, project_dir=str(project_dir))
    given, sweeps = _read_sweeps(args, options)
    ordered = list(sweeps)
    options, said = _fit(options, given, list(sweeps.values()))
    lines = [f"  array  {said}"] if said else []
    records = SweepRecords(Path(options.state_dir))
    lines += _notes_on_earlier(records, sweeps)
    known = [*({} for _ in given), *sweeps.values()]
    needed = what_is_needed(known, project_dir, serves=args.serve_in_job)
    starts = _agree(args, options, needed, given, ordered)
    if args.dry_run:
        if not args.no_snapshot:
            describe(project_dir)
        for part in by_gpu_type(options):
            print(array_script(without_secret(part), [*given, *map(_placeholder, ordered)]), end="")
        print("\n".join([*lines, starts]), file=sys.stderr)
        return 0
    if not args.no_snapshot:
        code_dir = str(freeze(project_dir, Path(options.state_dir) / "snapshots")[0])
        options = dataclasses.replace(options, code_dir=code_dir)
        sweep_records.check_same_code(
            (records.find(sweep) for sweep in given), code_dir, allow_new_code=args.allow_new_code
        )
    with signals_wait() as check_signals:
        job = ""
        try:
            if args.serve_in_job:
                job = start_server_job(options, check_signals)
                lines.append(f" server  job {job}; end it after the sweeps: scancel {job}")
            lines += _create_and_send(args, options, given, sweeps, records, check_signals)
        except BaseException as error:
            if job:
                slurm.call(["scancel", job])
            if isinstance(error, KeyboardInterrupt):
                print("interrupted: what was created is taken back", file=sys.stderr)
            raise
    tell([*lines, starts])
    return 0


def _read_sweeps(
    args: argparse.Namespace, options: ArrayOptions
) -> tuple[list[str], dict[Path, dict[str, Any]]]:
    """The sweeps that exist, and those of the files, in the order in which they will run.
    ConfigError for any that would waste its tasks.
    """
    given = list(dict.fromkeys(word for word in args.sweeps if is_sweep_path(word)))
    paths = each_once(Path(word) for word in args.sweeps if not is_sweep_path(word))
    check_files(paths)
    sweeps = {path: sweep_yaml.load(path) for path in paths}
    check_names(sweeps, os.environ, entity=args.entity, project=args.project)
    elsewhere = args.unchecked or bool(options.container)
    check_programs(sweeps, Path(options.project_dir), elsewhere=elsewhere)
    if args.offline:
        check_lists(given, sweeps)
    if not args.endless:
        check_ends(sweeps)
    points = {path: sweep_yaml.configs(sweep, where=str(path)) for path, sweep in sweeps.items()}
    if not args.unchecked:  # data may lie on compute nodes only
        check_data(config for configs in points.values() for config in configs)
    return given, {path: sweeps[path] for path in order_by_sharing(points)}


def _notes_on_earlier(
    records: SweepRecords, sweeps: Mapping[Path, Mapping[str, object]]
) -> list[str]:
    """What there is to say of files that were submitted before."""
    wanted = {path: sweep_records.name_points(sweep) for path, sweep in sweeps.items()}
    earlier = sweep_records.earlier_submissions(records.all(), wanted)
    jobs = [job for record in earlier.values() for job in record.jobs]
    return sweep_records.notes_on_earlier(earlier, slurm.at_work(jobs))


def _create_and_send(
    args: argparse.Namespace,
    options: ArrayOptions,
    given: Sequence[str],
    sweeps: Mapping[Path, Mapping[str, object]],
    records: SweepRecords,
    check_signals: Callable[[], None],
) -> list[str]:
    """Create the sweeps and submit their array; what there is to say. Each sweep and job is
    recorded as soon as it exists; when anything fails, the new sweeps are taken back.
    """
    environment = access_of(options).environment(os.environ)
    files, created, lines = dict.fromkeys(given, ""), [], []
    try:
        for path, content in sweeps.items():
            check_signals()
            sweep, link = create_sweep(path, environment, entity=args.entity, project=args.project)
            created.append(sweep)
            files[sweep] = str(path.absolute())
            points = sweep_records.name_points(content)
            records.save(
                SweepRecord(
                    sweep, files[sweep], options.code_dir, created_at=time.time(), points=points
                )
            )
            lines.append(f"{path}: {sweep}  {link}".rstrip())
            if content.get("scheduler"):  # no point comes without it
                scheduler = scheduler_command(sweep, options)
                lines.append(f"{'start':>7}  {scheduler}  # beside the array: proposes its points")
        check_signals()  # from here on it is too late: Slurm has the job, and all is recorded
        if args.offline:
            jobs = _submit_offline(files, options)
        else:
            sent = send_all(options, list(files), chain=args.chain)
            jobs = jobs_of(sent)
            lines += watching(sent)
    except BaseException:
        for sweep in created:
            if cancel_sweep(sweep, environment):
                records.forget(sweep)
        raise
    for sweep, file in files.items():
        for job in jobs:
            records.add_job(sweep, job, file=file, snapshot=options.code_dir, log=options.log)
    if args.offline:
        lines.append(f"{'after':>7}  {sync_command(options)}")
    return lines


def _placeholder(path: Path) -> str:
    return f"ENTITY/PROJECT/SWEEP-OF-{path.stem}"


def _fit(
    options: ArrayOptions, given: Sequence[str], sweeps: Sequence[Mapping[str, object]]
) -> tuple[ArrayOptions, str]:
    """No more tasks than grid points; a sentence when that changes the array."""
    counts = [points_to_run(sweep) for sweep in sweeps]
    if given:
        reader = Reader(access_of(options))
        counts += [reader.points_left(sweep) for sweep in given]
    points = total(counts)
    if points == 0:
        raise ConfigError(
            [
                f"every grid point of {', '.join(given)} has run; `sweep-agent fill --failed "
                "SWEEP.yaml` runs those again that failed"
            ],
            where="the submission (nothing was created)",
        )
    array, said = fitting_array(options, points)
    return dataclasses.replace(options, array=array), said


def _agree(
    args: argparse.Namespace,
    options: ArrayOptions,
    needed: Needed,
    given: Sequence[str],
    ordered: Sequence[Path],
) -> str:
    """What can fail is found before anything is created; when the job would start, in a line."""
    has_server = not (args.serve_in_job or args.offline)
    preflight.ask_here(options, needed, with_key=has_server, unchecked=args.unchecked)
    names = [*given, *map(_placeholder, ordered)]
    words = preflight.check_arrays(options, names, unchecked=args.unchecked)
    if args.serve_in_job:
        check_server_options(options)
        preflight.check_slurm(write_server_script(options), Path(options.project_dir))
        if not args.unchecked:
            check_partitions(wanted_by_server(options))
    start = re.search(r"to start at (\S+)", words)
    return f" starts  about {start.group(1)}, by Slurm's estimate" if start else ""


def _submit_offline(files: Mapping[str, str], options: ArrayOptions) -> list[str]:
    """All points of the grids as a list; what the tasks leave on disk is synced later."""
    sweeps = {path: sweep_yaml.load(Path(file)) for path, file in files.items()}
    return submit_points(
        [
            (path, sweep, [(values, "") for values, _ in points_of(sweep, files[path])])
            for path, sweep in sweeps.items()
        ],
        options,
    )
