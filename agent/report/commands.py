"""`sweep-agent report`, `select` and `workspace`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import ReportError
from agent.files import write_atomically
from agent.report.terminal import print_queued, print_selections, print_study
from agent.report.writing import with_scores, write_report
from agent.results.columns import find
from agent.results.csv_table import read_csv, with_curves
from agent.results.query.picking import add_where, pick
from agent.results.query.records import record_of_row
from agent.results.run_table import Row, base_rows, is_base, read_text

if TYPE_CHECKING:
    from agent.results.choices import Choice
    from agent.results.confirmation import PlannedPoint

NO_VARIANT = "no run names a model_variant (and quantization_strategy), so nothing can be compared"


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "projects", nargs="*", metavar="PROJECT", help="PROJECT or ENTITY/PROJECT on W&B"
    )
    parser.add_argument("--table", type=Path, metavar="FILE.csv", help="runs from a CSV instead")
    parser.add_argument("--curves", type=Path, metavar="FILE.csv", help="run_id, epoch, metrics")
    parser.add_argument(
        "--scores", type=Path, metavar="FILE.csv", help="run_id, split, example_id, score"
    )
    parser.add_argument(
        "--no-examples",
        action="store_true",
        help="don't download per-example scores; intervals stay blank",
    )
    add_where(parser)


def load_rows(args: argparse.Namespace) -> tuple[Row, ...]:
    """The runs that `--where` picks, from the named projects or the given files, and the untouched
    base, which is not a run; ReportError when it's not exactly one of the two sources."""
    every = _every_row(args)
    bases = tuple(row for row in every if is_base(row))
    runs = tuple(row for row in every if not is_base(row))
    return (*pick(runs, args.where, record_of_row), *bases)


def _every_row(args: argparse.Namespace) -> tuple[Row, ...]:
    if bool(args.projects) == bool(args.table):
        raise ReportError("name one or more projects, or give --table FILE.csv (not both)")
    if args.projects:
        if args.curves or args.scores:
            raise ReportError("--curves and --scores go with --table; a project brings its own")
        from agent.tracking import project_runs

        return project_runs.read_projects(
            args.projects, with_examples=not args.no_examples, progress=_progress, warn=_warn
        )
    if args.no_examples:
        raise ReportError("--no-examples goes with a project; a table has only those of --scores")
    rows = read_csv(read_text(args.table, "table"), where=str(args.table))
    if not rows:
        raise ReportError(f"{args.table} holds no runs: nothing to report")
    if args.curves:
        rows = with_curves(rows, read_text(args.curves, "curves"), where=str(args.curves))
    if args.scores:
        rows = with_scores(rows, read_text(args.scores, "scores"), where=str(args.scores))
    return rows


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\rreading runs: {done} of {total}", end=end, file=sys.stderr, flush=True)


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    _add_sources(parser)
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE.json",
        help="the untouched base, of `sweep-agent baseline`",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("outputs/report"),
        metavar="DIR",
        help="default: %(default)s",
    )
    parser.add_argument("--title", default="", help="heading of the report")
    parser.add_argument("--pareto-x", metavar="METRIC", help="horizontal axis of the Pareto figure")
    parser.add_argument("--pareto-y", metavar="METRIC", help="vertical axis of the Pareto figure")


def run_report(args: argparse.Namespace) -> int:
    """Compare the runs and write page, figures, tables and data."""
    from agent.results.study import examine

    for metric in filter(None, (args.pareto_x, args.pareto_y)):
        find(metric)
    rows = load_rows(args)
    if args.baseline:
        rows += base_rows(read_text(args.baseline, "baseline"), where=str(args.baseline))
    title = args.title or f"Sweep report: {' and '.join(args.projects) or args.table.stem}"
    study = examine(rows, title)
    if not study.families:
        raise ReportError(NO_VARIANT)
    print_study(study)
    written = write_report(study, rows, args.out, x=args.pareto_x, y=args.pareto_y)
    print(f"{written[0]} and {len(written) - 1} more files in {args.out}")
    return 0


def add_select_arguments(parser: argparse.ArgumentParser) -> None:
    _add_sources(parser)
    parser.add_argument(
        "--points",
        choices=("all", "final"),
        help="evaluation points that may be chosen (default: the last one, or the one that was "
        "tested, as in the report)",
    )
    parser.add_argument(
        "--confirm-seeds",
        type=int,
        metavar="N",
        help="queue sweeps of the seeds that are missing before each choice rests on N of them",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="with --confirm-seeds: print the sweeps as YAML, queue nothing",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE.json", help="write the choices, and any plan, as JSON"
    )


def run_select(args: argparse.Namespace) -> int:
    """Choose learning rate and evaluation point per variant; queue missing seeds."""
    from agent.results.choices import Choice, choices_of
    from agent.results.confirmation import PlannedPoint, missing_seeds, sweeps_of
    from agent.results.study import examine

    if args.dry_run and args.confirm_seeds is None:
        raise ReportError("--dry-run goes with --confirm-seeds N: it prints the sweeps of it")
    chosen: list[Choice] = []
    planned: list[PlannedPoint] = []
    study = examine(load_rows(args))
    for family in study.families:
        found = choices_of(family, args.points)
        chosen += found
        if args.confirm_seeds is not None:
            selections = [choice.selection for choice in found]
            planned += missing_seeds(family.family, selections, args.confirm_seeds)
    if not chosen:
        raise ReportError(NO_VARIANT)
    if args.dry_run:
        from agent.tracking.queued_sweeps import as_yaml

        print(as_yaml(sweeps_of(planned)), end="")
        if args.out:
            _write_choices(args.out, chosen, planned)
        return 0
    headline = study.headline if args.points is None else ()  # it is about the report's choices
    print_selections(chosen, planned, is_planned=args.confirm_seeds is not None, headline=headline)
    if args.out:
        _write_choices(args.out, chosen, planned)
    if planned and args.projects:
        from agent.tracking import queued_sweeps
        from agent.tracking.client import open_api

        print_queued(queued_sweeps.queue(planned, open_api()))
    return 0


def _write_choices(
    path: Path, chosen: "Sequence[Choice]", planned: "Sequence[PlannedPoint]"
) -> None:
    """What `sweep-agent evaluate --choices` reads, and the plan beside it."""
    record = {
        "selections": [choice.describe() for choice in chosen],
        "missing_points": [{"config": p.config, "reason": p.reason} for p in planned],
    }
    try:
        write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror}") from None


def add_workspace_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("project", metavar="PROJECT", help="PROJECT or ENTITY/PROJECT on W&B")
    parser.add_argument("--name", default="Variants compared", help="name of the saved view")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the specification, send nothing"
    )


def run_workspace(args: argparse.Namespace) -> int:
    """Build the saved view and the Report on W&B, or print what would be built."""
    from agent.report import workspace, workspace_views
    from agent.results.selected import marks_of, selected_families
    from agent.results.study import examine
    from agent.tracking import project_runs

    if args.dry_run:
        specification = workspace.specify(args.name)
        print(json.dumps(specification.to_json(), indent=1, ensure_ascii=False))
        return 0
    rows = project_runs.read_projects([args.project], with_examples=False, with_curves=False)
    study = examine(rows)
    count = project_runs.write_marks(marks_of(study))
    print(f"{count} runs carry selected/ keys: each variant at its best setting")
    families = selected_families(study)
    for family in families[1:]:
        print(f"selected_{family.number}/ keys are those of {family.label}")
    specification = workspace.specify(args.name, rows, families)
    for what, address in workspace_views.save(specification, args.project):
        print(f"{what}: {address}")
    return 0
