"""`sweep-agent status` and `logs`."""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agent.cluster import slurm
from agent.cluster.job_records import JobRecords, TaskLife, allocated_hours
from agent.cluster.log_ends import end_of_log
from agent.cluster.offline_runs import OfflineRun, offline_runs, with_offline
from agent.cluster.options import ACCESS, ArrayOptions
from agent.cluster.submit.array import access_of, flags_again, scheduler_command
from agent.cluster.submit.disks import disk_problems
from agent.cluster.submit.next_command import Ended, may_have_left, next_command
from agent.cluster.submit.option_flags import add_option_arguments, options_of
from agent.cluster.submit.plan import PointState
from agent.cluster.submit.plan_commands import points_left
from agent.cluster.submit.status import Hours, Report, SweepStatus, picked
from agent.cluster.submit.status_text import as_json, status_lines
from agent.cluster.submit.task_stories import (
    TaskStory,
    log_path,
    task_stories,
    with_logs,
    without_tails,
)
from agent.cluster.sweep_records import SweepRecord, SweepRecords
from agent.errors import ClusterError, TrackingError
from agent.results.query.picking import add_where
from agent.tracking.endpoint import server_notice
from agent.tracking.reader import Reader

WATCH_EVERY_S = 10.0


def add_status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sweeps",
        nargs="*",
        metavar="SWEEP_OR_PROJECT",
        help="ENTITY/PROJECT/SWEEP or ENTITY/PROJECT; else every sweep submitted from here",
    )
    parser.add_argument("--watch", action="store_true", help="again and again until all end")
    parser.add_argument("--json", action="store_true", help="for programs")
    add_where(parser)
    add_option_arguments(parser, ACCESS)


def run_status(args: argparse.Namespace) -> int:
    options = options_of(args, project_dir=str(Path.cwd()))
    has_answered = False
    while True:
        try:
            chosen = _choose(Path(options.state_dir), args.sweeps)
            report = picked(_report(Reader(access_of(options)), chosen, options), args.where)
        except (TrackingError, ClusterError) as error:
            if not (args.watch and has_answered):
                raise
            print(f"({error})", file=sys.stderr, flush=True)  # it may be moving: look again
            time.sleep(WATCH_EVERY_S)
            continue
        has_answered = True
        if args.json:
            print(json.dumps(as_json(report), indent=1))
        else:
            clear = "\033[H\033[J" if args.watch and sys.stdout.isatty() else ""
            print(clear + "\n".join(status_lines(report)), flush=True)
        if not args.watch or (report.is_over and not report.stray):
            return 0
        time.sleep(WATCH_EVERY_S)


def _report(reader: Reader, chosen: Sequence[SweepRecord], options: ArrayOptions) -> Report:
    jobs = list(dict.fromkeys(job for record in chosen for job in record.jobs))
    state_dir = Path(options.state_dir)
    job_records = JobRecords(state_dir)
    try:
        queued, slurm_problem = slurm.queue(jobs), ""
    except ClusterError as error:
        queued, slurm_problem = None, str(error)
    tasks, lives = _tasks(jobs, job_records, queued)
    tasks = without_tails(tasks, [_submissions(record, job_records) for record in chosen])
    alive = {story.task for story in tasks if slurm_problem or not story.is_over}
    offline = offline_runs(state_dir, alive.__contains__)
    statuses = [_status_of(record.sweep, reader, offline, options) for record in chosen]
    if all(status.missing_on for status in statuses):
        sweeps = ", ".join(status.sweep for status in statuses)
        raise TrackingError(f"{reader.server} has no {sweeps}: another server has it, or none")
    logs = [Path(found.log).parent for job in jobs if (found := job_records.find(job))]
    report = Report(
        statuses,
        tasks,
        _hours(jobs, lives, has_slurm=queued is not None),
        server_notice=server_notice(access_of(options).server_data),
        disk_problems=disk_problems(state_dir, logs),
        slurm_problem=slurm_problem,
    )
    following = _next_command(chosen, statuses, reader, offline, options) if report.is_over else ""
    return replace(report, next_command=following)


def _status_of(
    sweep: str, reader: Reader, offline: Sequence[OfflineRun], options: ArrayOptions
) -> SweepStatus:
    facts = reader.find_sweep(sweep)
    if facts is None:
        return SweepStatus(sweep, "not found", None, [], missing_on=reader.server)
    mine = [run for run in offline if run.sweep == sweep]
    scheduler = scheduler_command(sweep, options) if facts.has_scheduler else ""
    return SweepStatus(
        sweep,
        facts.state,
        facts.expected,
        with_offline(facts.runs, mine),
        method=facts.method,
        scheduler=scheduler,
    )


def _tasks(
    jobs: Sequence[str], records: JobRecords, queued: Sequence[slurm.Task] | None
) -> tuple[list[TaskStory], list[TaskLife]]:
    """Every task of the jobs, and all their lives; from the project's records alone where Slurm
    cannot be asked.
    """
    stories: list[TaskStory] = []
    lives: list[TaskLife] = []
    for job in jobs:
        record = records.find(job)
        mine = records.lives_of(job)
        waiting, endings = None, {}
        if queued is not None:
            waiting = [task for task in queued if task.job.partition("_")[0] == job]
            endings = slurm.endings(job)
        found = task_stories(record, waiting, mine, endings, time.time())
        tails = {
            story.task: end_of_log(log, has_failed=story.state == "FAILED")
            for story in found
            if story.is_bad and (log := Path(log_path(story, record))).is_file()
        }
        stories += with_logs(found, record, tails)
        lives += mine
    return stories, lives


def _submissions(record: SweepRecord, jobs: JobRecords) -> dict[str, float]:
    """When the jobs of a sweep were submitted."""
    return {job: found.submitted_at for job in record.jobs if (found := jobs.find(job))}


def _hours(jobs: Sequence[str], lives: Sequence[TaskLife], *, has_slurm: bool) -> Hours:
    accounted = slurm.accounted_gpu_hours(jobs) if has_slurm else None
    allocated = accounted if accounted else allocated_hours(lives, time.time()) if lives else None
    busy = sum(life.busy_s * max(life.gpus, 1) for life in lives) / 3600
    return Hours(allocated, busy, is_accounted=bool(accounted))


def _next_command(
    chosen: Sequence[SweepRecord],
    statuses: Sequence[SweepStatus],
    reader: Reader,
    offline: Sequence[OfflineRun],
    options: ArrayOptions,
) -> str:
    """What is left of a file is `fill`'s to say, by all runs of the project: another sweep of the
    same file may have finished the points.
    """
    ended = []
    jobs = JobRecords(Path(options.state_dir))
    for record, status in zip(chosen, statuses, strict=True):
        left: list[PointState] | None = None
        if record.file and status.method == "grid" and not status.missing_on:
            left = []
            if may_have_left(status):
                left = points_left(Path(record.file), record.sweep, reader, offline)
        if not status.missing_on:
            job = jobs.find(record.jobs[-1]) if record.jobs else None
            choices = job.choices if job else None
            flags = "" if choices is None else flags_again(choices, options)
            ended.append(Ended(status, record.file, left, flags))
    return next_command(ended, options)


def _choose(state_dir: Path, words: list[str]) -> list[SweepRecord]:
    """The records of the named sweeps and projects; a sweep from elsewhere has no jobs here.
    ClusterError when there is none.
    """
    records = SweepRecords(state_dir).all()
    known = {record.sweep: record for record in records}
    chosen: dict[str, SweepRecord] = {}
    for word in words:
        if word.count("/") == 2:
            chosen[word] = known.get(word, SweepRecord(word))
        else:
            chosen |= {s: r for s, r in known.items() if s.startswith(f"{word}/")}
    found = list(chosen.values()) if words else records
    if not found:
        of_it = f" of {', '.join(words)}" if words else ""
        raise ClusterError(
            f"no sweep{of_it} was submitted from here ({state_dir}); name one: "
            "sweep-agent status ENTITY/PROJECT/SWEEP"
        )
    return found


def add_logs_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="ENTITY/PROJECT/RUN")
    parser.add_argument(
        "--lines", type=int, default=200, metavar="N", help="from the end (default %(default)s)"
    )
    parser.add_argument("--follow", action="store_true", help="go on as the log grows")
    add_option_arguments(parser, ACCESS)


def run_logs(args: argparse.Namespace) -> int:
    if args.lines < 1:
        raise ClusterError(f"--lines {args.lines}: must be 1 or more")
    options = options_of(args, project_dir=str(Path.cwd()))
    run = Reader(access_of(options)).run(args.run)
    recorded = str(run.config.get("slurm/log_path", ""))
    if recorded and not Path(recorded).is_file():
        raise ClusterError(f"the log of {args.run} is gone: {recorded}")
    # A program of the user's own records no log.
    logs = [Path(recorded)] if recorded else JobRecords(Path(options.state_dir)).all_logs()
    found = ((each, part_of(each, run.run_id)) for each in logs)
    path, lines = next((pair for pair in found if pair[1]), (Path(recorded), []))
    if args.follow and path.is_file():
        os.execvp("tail", ["tail", "-n", str(args.lines), "-F", str(path)])
    if not lines:
        where = recorded or f"none of the {len(logs)} logs of {options.state_dir}"
        raise ClusterError(f"{where} holds no line of {args.run}: its agent printed elsewhere")
    print(f"# {path}: the lines of {run.run_id}")
    print("".join(lines[-args.lines :]), end="")
    return 0


# As the agent says it, and the worker where it runs a point itself.
_BEGINS = re.compile(r"(?:^agent: run|\] worker \d+: run) (\S+) (?:begins|of )")


def part_of(log: Path, run_id: str) -> list[str]:
    """What a task's log has of one run: from each start of it to the start of another. Tasks that
    run several agents at once mix their lines.
    """
    mine: list[str] = []
    is_mine = False
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            begins = _BEGINS.search(line)
            if begins:
                is_mine = begins.group(1) == run_id
            if is_mine:
                mine.append(line)
    return mine
