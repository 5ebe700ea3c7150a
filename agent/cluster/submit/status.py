"""What is going on: the text of `sweep-agent status`, from values that others have fetched."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from agent.cluster.offline_runs import NOT_SYNCED
from agent.cluster.submit.plan import one_per_point
from agent.cluster.submit.task_stories import TaskStory
from agent.results.columns import SCORE
from agent.results.outcome import Outcome
from agent.results.query.picking import pick
from agent.results.query.records import Record, record_of, record_of_row
from agent.results.run_table import Row, run_values
from agent.tracking.reader import RunFacts

OWN_SECONDS = "train/own_gpu_seconds"
_COLUMNS = ("run", "state", "f1", "job", "node", "log")


REASON = "stopped/reason"
_SILENT = "fell silent: its program was killed (out of memory, too), or its node died"
RUNTIME = "_runtime"  # seconds, by W&B


@dataclass(frozen=True)
class SweepStatus:
    """One sweep with its runs."""

    sweep: str
    state: str
    expected: int | None  # grid points, or the run_cap; None for a sweep without an end
    runs: Sequence[RunFacts]
    listed: frozenset[str] | None = None  # the ids that `--where` picks; None for all
    method: str = "grid"
    missing_on: str = ""  # the server that does not have it
    offline: int = 0  # runs that wait on a disk for `wandb sync`
    scheduler: str = ""  # the command that proposes its points, where they come from one

    @property
    def listed_runs(self) -> list[RunFacts]:
        return [run for run in self.runs if self.listed is None or run.run_id in self.listed]

    @cached_property
    def counted_runs(self) -> Sequence[RunFacts]:
        """One a grid point; a search may draw one twice."""
        return one_per_point(self.runs) if self.method == "grid" else self.runs

    @property
    def lacks_points(self) -> bool:
        """Whether its scheduler may not have been started."""
        is_idle = not any(run.outcome.is_running for run in self.runs)
        return bool(self.scheduler) and is_idle and counts_of(self)["waiting"] > 0

    @property
    def is_endless(self) -> bool:
        """A search that goes on until it is stopped."""
        over = self.state.lower() in ("finished", "canceled", "cancelled", "stopped", "crashed")
        return self.expected is None and self.method in ("random", "bayes") and not over


@dataclass(frozen=True)
class Hours:
    """GPU hours of a submission; a task without a GPU counts as one."""

    allocated: float | None = None  # by Slurm's accounting, else by the tasks' own records
    busy: float = 0.0  # with a run alive, by the tasks' own records
    is_accounted: bool = False


@dataclass(frozen=True)
class Report:
    """All that `status` says."""

    sweeps: Sequence[SweepStatus]
    tasks: Sequence[TaskStory] = ()
    hours: Hours = Hours()
    next_command: str = ""
    server_notice: str = ""  # by the embedded server, such as a snapshot that fails
    disk_problems: Sequence[str] = ()  # sentences
    slurm_problem: str = ""  # why Slurm could not be asked: nothing is known to have ended

    @property
    def is_over(self) -> bool:
        return not self.slurm_problem and all(story.is_over for story in self.tasks)


def counts_of(status: SweepStatus) -> dict[str, int]:
    """Grid points by what has become of them; waiting ones have no run yet."""
    words = Counter(_word(run) for run in status.counted_runs)
    known = {
        name: words.get(name, 0) for name in ("done", "running", "pruned", "failed", "cut off")
    }
    waiting = 0 if status.expected is None else max(status.expected - len(status.counted_runs), 0)
    return {
        **known,
        **{word: n for word, n in words.items() if word not in known},
        "waiting": waiting,
    }


def picked(report: Report, query: str) -> Report:
    """The report with only those runs listed that a query finds; its counts and hours stay those
    of the whole sweeps. ReportError for a query that is wrong."""
    if not query.strip():
        return report
    runs = [run for status in report.sweeps for run in status.runs]
    ids = frozenset(run.run_id for run in pick(runs, query, _record, may_be_none=True))
    return replace(report, sweeps=[replace(status, listed=ids) for status in report.sweeps])


def _record(run: RunFacts) -> Record:
    values = run_values(run.config, run.summary)
    tags = frozenset(run.tags)
    record = record_of_row(Row(run.run_id, run.state, values, name=run.name, tags=tags))
    return record_of({**record.values, "sweep": run.sweep}, record.origins)


def own_gpu_hours(runs: Iterable[RunFacts]) -> float:
    """What the runs themselves spent; shared trainings are counted once, with their writer."""
    return sum(_number(run.summary.get(OWN_SECONDS)) for run in runs) / 3600


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


def expected_seconds(report: Report) -> float | None:
    """Until the last run ends, from the mean of those that ended and the tasks that run now; None
    when nothing is left, nothing is known, or a search has no end.
    """
    if any(status.is_endless for status in report.sweeps):
        return None
    runs = [run for status in report.sweeps for run in status.runs]
    lasted = [_number(run.summary.get(RUNTIME)) for run in runs if run.outcome.is_complete]
    counts = Counter[str]()
    for status in report.sweeps:
        counts.update(counts_of(status))
    workers = sum(story.state == "RUNNING" for story in report.tasks)
    left = counts["waiting"] + counts["cut off"] + counts["running"] / 2
    if not lasted or not workers or not left:
        return None
    return left / workers * sum(lasted) / len(lasted)


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
                        "state": _word(run),
                        "reason": _reason(run),
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
        "next": report.next_command,
        "server_notice": report.server_notice,
        "disk_problems": list(report.disk_problems),
        "slurm_problem": report.slurm_problem,
    }


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


def _word(run: RunFacts) -> str:
    if run.state == NOT_SYNCED:
        return run.state
    if run.outcome.is_cut_off:
        return "cut off"  # crashed, killed, preempted: a re-run goes on
    return "done" if run.outcome.is_complete else run.outcome.value


def is_all_done(report: Report) -> bool:
    """Whether every point has an end that stands: then what a task failed with is history."""
    words = {word for status in report.sweeps for word, n in counts_of(status).items() if n}
    return bool(words) and words <= {"done", "pruned", "diverged"}


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
        if not (with_tails and story.is_bad and story.has_started) or story.tail is None:
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
                _word(run),
                f"{_number(f1):.3f}" if f1 is not None else "",
                job_of(run.config),
                str(run.config.get("slurm/node", "")),
                str(run.config.get("slurm/log_path", "")),
            )
        )
    lines = table(rows)
    for run in runs:
        if reason := _reason(run):
            lines.append(f"{run.run_id} {_word(run)}: {' '.join(reason.split())[:300]}")
    return lines


def _reason(run: RunFacts) -> str | None:
    """Why it ended; None of a run that lives or ended well, whatever an earlier life has said, and
    of one that was stopped or preempted.
    """
    reason, outcome = run.summary.get(REASON), run.outcome
    if outcome.is_complete or outcome.is_running or outcome.is_pruned:
        return None
    if not reason and outcome is Outcome.CRASHED:
        return _SILENT
    return str(reason) if reason else None


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


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
