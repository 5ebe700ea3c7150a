"""What is going on: what `sweep-agent status` has to say, from values that others have fetched."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from agent.cluster.offline_runs import NOT_SYNCED
from agent.cluster.submit.plan import one_per_point
from agent.cluster.submit.task_stories import TaskStory
from agent.results.outcome import Outcome
from agent.results.query.picking import pick
from agent.results.query.records import Record, record_of, record_of_row
from agent.results.run_table import Row, run_values
from agent.tracking.reader import RunFacts

OWN_SECONDS = "train/own_gpu_seconds"
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
        """No task of these sweeps will do any more."""
        return not self.slurm_problem and all(story.is_over for story in self.tasks)

    @property
    def stray(self) -> int:
        """Runs that count as running although no task here is left to run them."""
        return sum(counts_of(status)["running"] for status in self.sweeps) if self.is_over else 0


def counts_of(status: SweepStatus) -> dict[str, int]:
    """Grid points by what has become of them; waiting ones have no run yet."""
    words = Counter(word_of(run) for run in status.counted_runs)
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
    return sum(number(run.summary.get(OWN_SECONDS)) for run in runs) / 3600


def expected_seconds(report: Report) -> float | None:
    """Until the last run ends, from the mean of those that ended and the tasks that run now; None
    when nothing is left, nothing is known, or a search has no end.
    """
    if any(status.is_endless for status in report.sweeps):
        return None
    runs = [run for status in report.sweeps for run in status.runs]
    lasted = [number(run.summary.get(RUNTIME)) for run in runs if run.outcome.is_complete]
    counts = Counter[str]()
    for status in report.sweeps:
        counts.update(counts_of(status))
    workers = sum(story.state == "RUNNING" for story in report.tasks)
    left = counts["waiting"] + counts["cut off"] + counts["running"] / 2
    if not lasted or not workers or not left:
        return None
    return left / workers * sum(lasted) / len(lasted)


def is_all_done(report: Report) -> bool:
    """Whether every point has an end that stands: then what a task failed with is history."""
    words = {word for status in report.sweeps for word, n in counts_of(status).items() if n}
    return bool(words) and words <= {"done", "pruned", "diverged"}


def word_of(run: RunFacts) -> str:
    if run.state == NOT_SYNCED:
        return run.state
    if run.outcome.is_cut_off:
        return "cut off"  # crashed, killed, preempted: a re-run goes on
    return "done" if run.outcome.is_complete else run.outcome.value


def reason_of(run: RunFacts) -> str | None:
    """Why it ended; None of a run that lives or ended well, whatever an earlier life has said, and
    of one that was stopped or preempted.
    """
    reason, outcome = run.summary.get(REASON), run.outcome
    if outcome.is_complete or outcome.is_running or outcome.is_pruned:
        return None
    if not reason and outcome is Outcome.CRASHED:
        return _SILENT
    return str(reason) if reason else None


def number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
