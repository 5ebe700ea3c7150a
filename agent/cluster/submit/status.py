"""What is going on: the text of `sweep-agent status`, from values that others have fetched."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.cluster.slurm import Task
from agent.results.columns import SCORE
from agent.tracking.reader import RunFacts

OWN_SECONDS = "train/own_gpu_seconds"
_COLUMNS = ("run", "state", "f1", "job", "node", "log")


@dataclass(frozen=True)
class SweepStatus:
    """One sweep with its runs and the tasks that work on it."""

    sweep: str
    state: str
    expected: int | None  # grid points; None without a finite grid
    runs: Sequence[RunFacts]
    tasks: Sequence[Task]
    accounted_h: float | None = None  # GPU hours by sacct; None without accounting


def counts_of(status: SweepStatus) -> dict[str, int]:
    """Grid points by what has become of them; waiting ones have no run yet."""
    words = Counter(_word(run) for run in status.runs)
    known = {
        name: words.get(name, 0) for name in ("done", "running", "pruned", "failed", "cut off")
    }
    waiting = 0 if status.expected is None else max(status.expected - len(status.runs), 0)
    return {
        **known,
        **{word: n for word, n in words.items() if word not in known},
        "waiting": waiting,
    }


def own_gpu_hours(runs: Iterable[RunFacts]) -> float:
    """What the runs themselves spent; shared trainings are counted once, with their writer."""
    return sum(_number(run.summary.get(OWN_SECONDS)) for run in runs) / 3600


def status_lines(statuses: Sequence[SweepStatus]) -> list[str]:
    """The report, sweep by sweep."""
    lines: list[str] = []
    for status in statuses:
        counts = counts_of(status)
        shown = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        of = f" of {status.expected}" if status.expected else ""
        lines.append(f"{status.sweep}  {status.state.lower()}{of}: {shown or 'no runs yet'}")
        hours = f"  GPU hours: {own_gpu_hours(status.runs):.2f} by the runs"
        if status.accounted_h is not None:
            hours += f", {status.accounted_h:.2f} by Slurm's accounting"
        lines.append(hours)
        lines += [f"  {line}" for line in _task_lines(status.tasks)]
        lines += [f"  {line}" for line in _run_lines(status.runs)]
        lines.append("")
    return lines[:-1]


def _word(run: RunFacts) -> str:
    if run.outcome.is_cut_off:
        return "cut off"  # crashed, killed, preempted: a re-run goes on
    return "done" if run.outcome.is_complete else run.outcome.value


def _task_lines(tasks: Sequence[Task]) -> list[str]:
    if not tasks:
        return ["no tasks in the queue"]
    rows = [("task", "state", "node", "ran", "left", "ends", "why it waits")]
    for task in tasks:
        why = task.reason if task.state == "PENDING" else ""
        left = "" if task.seconds_left is None else clock(task.seconds_left)
        end = task.expected_end if task.state == "RUNNING" else ""
        rows.append((task.job, task.state, task.node, clock(task.seconds_run), left, end, why))
    return table(rows)


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
    return table(rows)


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
