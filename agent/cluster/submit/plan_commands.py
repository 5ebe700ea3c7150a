"""`sweep-agent plan` and `fill`: what is left of a sweep, and running only that."""

import argparse
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agent.cluster import slurm
from agent.cluster.offline_runs import OfflineRun, offline_runs, with_offline
from agent.cluster.options import ACCESS, ArrayOptions
from agent.cluster.snapshot import freeze
from agent.cluster.submit.array import access_of, sync_command
from agent.cluster.submit.option_flags import add_option_arguments, add_unchecked, options_of
from agent.cluster.submit.plan import PlannedPoint, PointState, plan_points, to_fill
from agent.cluster.submit.points import points_of, submit_points
from agent.cluster.submit.preflight import ask_here, check_arrays
from agent.cluster.submit.software import what_is_needed
from agent.cluster.submit.submission import check_files, check_programs, each_once
from agent.cluster.sweep_records import SweepRecords
from agent.config import sweep_yaml
from agent.errors import ConfigError, ReportError, TrackingError
from agent.tracking.paths import split_path
from agent.tracking.reader import Reader
from agent.training import preflight


@dataclass(frozen=True)
class FilePlan:
    """One sweep file, its sweep on the server, and the state of its points."""

    path: Path
    sweep_path: str  # empty when it was never submitted from here
    sweep: dict[str, object]
    points: list[PlannedPoint]
    project: str  # ENTITY/PROJECT, or PROJECT alone


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    add_option_arguments(parser, ACCESS)
    parser.add_argument("--list", action="store_true", help="list every grid point")


def add_fill_arguments(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    add_option_arguments(parser)
    parser.add_argument(
        "--offline", action="store_const", const="1", help="compute nodes reach no server"
    )
    parser.add_argument("--failed", action="store_true", help="run failed points again as well")
    parser.add_argument(
        "--while-running",
        action="store_true",
        help="although jobs still work on these sweeps: what they have not begun may run twice",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would run")
    parser.add_argument("--no-snapshot", action="store_true", help="run the working tree itself")
    add_unchecked(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweeps", nargs="+", type=Path, metavar="SWEEP.yaml")
    parser.add_argument("--entity", help="whose runs are looked at")
    parser.add_argument("--project", help="where runs are looked for; else the YAML's")
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="ENTITY/PROJECT/SWEEP",
        help="the sweep of each file, in order, when it was not submitted from here",
    )


def run_plan(args: argparse.Namespace) -> int:
    options = options_of(args, project_dir=str(Path.cwd()))
    plans = _plans(args, options)
    for plan in plans:
        counts = Counter(point.state for point in plan.points)
        shown = ", ".join(f"{counts[state]} {state.value}" for state in PointState if counts[state])
        by = f"by all runs of {plan.project}"  # of whichever sweep: `status` counts each by itself
        print(f"{plan.path}: {len(plan.points)} grid points: {shown}; {by}")
        _say_unsynced(plan, options)
        if args.list:
            for point in plan.points:
                name = point.config.display_name(sweep_yaml.swept_keys(plan.sweep))
                print(f"  {point.state.value:10} {point.run_id:10} {name}")
    for project in dict.fromkeys(plan.project for plan in plans):
        for line in _size_lines(project):
            print(line)
    configs = [point.config for plan in plans for point in plan.points]
    lines, problems = preflight.check_local_data(c for c in configs if not c.missing_files())
    for line in lines:
        print(line)
    if problems:
        raise ConfigError(problems, where="the data of these sweeps")
    return 0


def _size_lines(project: str) -> list[str]:
    """How many examples and seeds the project's comparison takes. A project that cannot be read
    again costs these lines, not the plan."""
    from agent.results.sample_size import study_lines
    from agent.results.study import examine
    from agent.tracking import project_runs

    try:
        rows = project_runs.read_projects([project], with_examples=False, with_curves=False)
        study = examine(rows, load=project_runs.loader_of(project))
    except (ReportError, TrackingError) as error:
        return [f"numbers of examples and seeds: {error}"]
    return study_lines(study.families)


def run_fill(args: argparse.Namespace) -> int:
    options = options_of(args, project_dir=str(Path.cwd()))
    if not args.dry_run:
        check_files(args.sweeps)
        sweeps = {path: sweep_yaml.load(path) for path in args.sweeps}
        check_programs(sweeps, Path.cwd(), elsewhere=args.unchecked or bool(options.container))
        needed = what_is_needed(sweeps.values(), Path.cwd())
        ask_here(options, needed, with_key=not options.offline, unchecked=args.unchecked)
    plans = _plans(args, options)
    records = SweepRecords(Path(options.state_dir))
    if not args.while_running:
        _check_not_at_work(plans, records)
    wanted = [(plan, to_fill(plan.points, failed=args.failed)) for plan in plans]
    for plan, points in wanted:
        kinds = Counter(point.state.value for point in points)
        shown = ", ".join(f"{count} {name}" for name, count in kinds.items()) or "nothing"
        print(f"{plan.path}: {shown} to run of {len(plan.points)}")
        _say_unsynced(plan, options)
    if args.dry_run or not any(points for _, points in wanted):
        return 0
    missing = [str(plan.path) for plan, points in wanted if points and not plan.sweep_path]
    if missing:
        raise ConfigError(
            [f"{path}: give its sweep with --sweep ENTITY/PROJECT/SWEEP" for path in missing],
            where="the points to fill",
        )
    check_arrays(options, [], unchecked=args.unchecked)
    if not args.no_snapshot:
        code_dir = str(freeze(Path.cwd(), Path(options.state_dir) / "snapshots")[0])
        options = options_of(args, project_dir=str(Path.cwd()), code_dir=code_dir)
    filled = [(plan, points) for plan, points in wanted if points]
    jobs = submit_points(
        [
            (plan.sweep_path, plan.sweep, [(p.values, p.run_id) for p in points])
            for plan, points in filled
        ],
        options,
    )
    for plan, _ in filled:
        for job in jobs:
            file = str(plan.path.absolute())
            records.add_job(plan.sweep_path, job, file=file, snapshot="", log=options.log)
    if options.offline:
        print(f"{'after':>7}  {sync_command(options)}")
    return 0


def _check_not_at_work(plans: Iterable[FilePlan], records: SweepRecords) -> None:
    """ConfigError while jobs work on one of the sweeps: they would take the same points."""
    problems = []
    for plan in plans:
        record = records.find(plan.sweep_path) if plan.sweep_path else None
        if record and (jobs := slurm.at_work(record.jobs)):
            problems.append(
                f"{plan.path}: job {', '.join(sorted(jobs))} still works on its points, as "
                f"{record.sweep}; fill what is left once it has ended, or give --while-running"
            )
    if problems:
        raise ConfigError(problems, where="the points to fill (nothing was submitted)")


def _say_unsynced(plan: FilePlan, options: ArrayOptions) -> None:
    count = sum(point.state is PointState.UNSYNCED for point in plan.points)
    if count:
        print(f"  {count} run(s) wait on this disk for: {sync_command(options)}")


def _plans(args: argparse.Namespace, options: ArrayOptions) -> list[FilePlan]:
    if not args.sweep:
        args.sweeps = each_once(args.sweeps)
    check_files(args.sweeps)
    if len(args.sweep) > len(args.sweeps):
        raise ConfigError(
            [f"--sweep is given {len(args.sweep)} times for {len(args.sweeps)} sweep files"],
            where="the options",
        )
    reader = Reader(access_of(options))
    records = {r.file: r for r in SweepRecords(Path(options.state_dir)).all()}
    offline = offline_runs(Path(options.state_dir), slurm.is_alive)
    plans = []
    for index, path in enumerate(args.sweeps):
        sweep = sweep_yaml.load(path)
        record = records.get(str(path.absolute()))
        given = args.sweep[index] if index < len(args.sweep) else ""
        sweep_path = given or (record.sweep if record else "")
        project = _project_of(args, sweep, sweep_path)
        runs = with_offline(reader.runs_of_project(project), _of_project(offline, project))
        plans.append(
            FilePlan(
                path, sweep_path, sweep, plan_points(points_of(sweep, str(path)), runs), project
            )
        )
    return plans


def _of_project(offline: Iterable[OfflineRun], project: str) -> list[OfflineRun]:
    """Of ENTITY/PROJECT, or of PROJECT for the login's own entity."""
    return [run for run in offline if f"/{run.sweep}".rpartition("/")[0].endswith(f"/{project}")]


def points_left(
    file: Path, sweep_path: str, reader: Reader, offline: Iterable[OfflineRun]
) -> list[PointState] | None:
    """The states of a file's points that `fill --failed` would run; None for a file whose points
    cannot be listed any more.
    """
    try:
        points = points_of(sweep_yaml.load(file), str(file))
    except ConfigError:
        return None
    project = sweep_path.rpartition("/")[0]
    runs = with_offline(reader.runs_of_project(project), _of_project(offline, project))
    return [point.state for point in to_fill(plan_points(points, runs), failed=True)]


def _project_of(args: argparse.Namespace, sweep: dict[str, object], sweep_path: str) -> str:
    """ENTITY/PROJECT, or PROJECT alone for the login's own entity."""
    of_sweep = split_path(sweep_path) if sweep_path else ("", "", "")
    entity = args.entity or of_sweep[0] or str(sweep.get("entity", ""))
    entity = entity or os.environ.get("WANDB_ENTITY", "")
    project = args.project or of_sweep[1] or str(sweep.get("project", ""))
    project = project or os.environ.get("WANDB_PROJECT", "")
    if not project:
        raise ConfigError(["give --project: the sweep file names none"], where="the plan")
    return f"{entity}/{project}" if entity else project
