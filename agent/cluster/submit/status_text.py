"""The text and the JSON of `sweep-agent status`: pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from agent.cluster.submit.status import (
    Report,
    SweepStatus,
    counts_of,
    expected_seconds,
    is_all_done,
    number,
    own_gpu_hours,
    reason_of,
    word_of,
)
from agent.cluster.submit.task_stories import TaskStory
from agent.results.columns import SCORE
from agent.tracking.reader import RunFacts

_COLUMNS = ("run", "state", "f1", "job", "node", "log")


def status_lines(report: Report) -> list[str]:
    """The report, sweep by sweep, then the tasks and what they cost."""
    lines = [f"server: {report.server_notice}"] if report.server_notice else []
    lines += [f"disk: {problem}" for problem in report.disk_problems]
    lines += [""] if lines else []
    for status in report.sweeps:
        lines.append(_summary(status))
        if status.lacks_points:
            lines.append(f"  no point without its scheduler, beside the array: {status.scheduler}")
        lines += [f"  {line}" for line in _run_lines(status.listed_runs)]
        lines.append("")
    if report.slurm_problem:
        lines.append(f"slurm: {report.slurm_problem}")
    elif report.is_over:
        lines.append("no tasks in the queue")
    lines += _task_lines(report.tasks, with_tails=not is_all_done(report))
    lines.append(_hours_line(report))
    left_s = expected_seconds(report)
    if left_s is not None:
        lines.append(f"about {clock(left_s)} to go, as long as the runs so far took")
    if not report.is_over:
        lines += [
            f"{status.sweep} has no end to estimate: without a run_cap it goes on until it is "
            "stopped"
            for status in report.sweeps
            if status.is_endless
        ]
    if report.stray:
        lines.append(
            f"{report.stray} run(s) count as running, but no task here runs them: agents elsewhere "
            "do, or they were killed and will count as crashed once the server misses them"
        )
    if report.next_command:
        lines.append(f"next: {report.next_command}")
    return lines


def _summary(status: SweepStatus) -> str:
    if status.missing_on:
        return f"{status.sweep}  not found on {status.missing_on}: another server has it, or none"
    shown = ", ".join(f"{count} {name}" for name, count in counts_of(status).items() if count)
    of = f" of {status.expected}" if status.expected else ""
    again = len(status.runs) - len(status.counted_runs)
    more = f"; {again} more run(s) of the same points" if again else ""
    return f"{status.sweep}  {status.state.lower()}{of}: {shown or 'no runs yet'}{more}"


def _hours_line(report: Report) -> str:
    own = own_gpu_hours(run for status in report.sweeps for run in status.runs)
    hours = report.hours
    if hours.allocated is None:
        return f"GPU hours: {own:.2f} by the runs"
    source = "Slurm's accounting" if hours.is_accounted else "the tasks' own records"
    allocated = max(hours.allocated, 1e-9)
    shares = f"{own:.2f} by the runs ({own / allocated:.0%})"
    if hours.busy:
        shares = f"{hours.busy:.2f} with a run alive ({hours.busy / allocated:.0%}), {shares}"
    return f"GPU hours: {hours.allocated:.2f} allocated by {source}; {shares}"


def _task_lines(stories: Sequence[TaskStory], *, with_tails: bool) -> list[str]:
    if not stories:
        return []
    rows = [("task", "state", "node", "ran", "left", "ends", "restarts", "why")]
    for story in stories:
        left = "" if story.left_s is None else clock(story.left_s)
        restarts = str(story.restarts or "")
        cells = (story.node, clock(story.ran_s), left, story.ends, restarts, story.reason)
        rows.append((story.task, story.state, *cells))
    lines = table(rows)
    for story in stories:
        # A task that was cancelled shows no tail; its log has the end of what was interrupted.
        is_known = story.tail is None or story.reason.startswith("cancelled")
        if is_known or not (with_tails and story.is_bad and story.has_started):
            continue
        lines.append(f"{story.task} ended {story.state}; {story.log or 'no log is known'}:")
        lines += [f"    {line}" for line in story.tail or ("(the log is empty or gone)",)]
    return lines


def _run_lines(runs: Sequence[RunFacts]) -> list[str]:
    if not runs:
        return []
    rows = [_COLUMNS]
    for run in runs:
        f1 = run.summary.get("validation/f1_score", run.summary.get(SCORE))
        rows.append(
            (
                f"{run.run_id} {run.name}",
                word_of(run),
                f"{number(f1):.3f}" if f1 is not None else "",
                job_of(run.config),
                str(run.config.get("slurm/node", "")),
                str(run.config.get("slurm/log_path", "")),
            )
        )
    lines = table(rows)
    for run in runs:
        if reason := reason_of(run):
            lines.append(f"{run.run_id} {word_of(run)}: {' '.join(reason.split())[:300]}")
    return lines


def as_json(report: Report) -> dict[str, object]:
    """The same for programs."""
    return {
        "sweeps": [
            {
                "sweep": status.sweep,
                "state": status.state.lower(),
                "expected": status.expected,
                "is_endless": status.is_endless,
                "points": counts_of(status),
                "runs": [
                    {
                        "run": run.run_id,
                        "name": run.name,
                        "state": word_of(run),
                        "reason": reason_of(run),
                        "job": job_of(run.config),
                    }
                    for run in status.listed_runs
                ],
            }
            for status in report.sweeps
        ],
        "tasks": [asdict(story) for story in report.tasks],
        "gpu_hours": {
            **asdict(report.hours),
            "by_the_runs": own_gpu_hours(run for s in report.sweeps for run in s.runs),
        },
        "expected_seconds": expected_seconds(report),
        "running_without_a_task": report.stray,
        "next": report.next_command,
        "server_notice": report.server_notice,
        "disk_problems": list(report.disk_problems),
        "slurm_problem": report.slurm_problem,
    }


def job_of(config: Mapping[str, object]) -> str:
    """12_3 for a run of an array task, as squeue names it."""
    array, task = config.get("slurm/array_job_id"), config.get("slurm/array_task_id")
    return f"{array}_{task}" if array and task else str(config.get("slurm/job_id", ""))


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return [line.rstrip() for line in padded]


def clock(seconds: float) -> str:
    """1:02:03, or 2:03 below an hour."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
