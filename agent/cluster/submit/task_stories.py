"""What became of every task of a job: pure, from Slurm's words, the task's own record and its log.

A task that died before its supervisor wrote a word (no interpreter, no module, no container) has
only its log and Slurm's state; those are exactly the ones a user has to hear of.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.cluster.job_records import SILENT_S, JobRecord, TaskLife
from agent.cluster.slurm import Ending, Task
from agent.errors import Fault

# What an exit status says of a task that could not leave a word itself, as Slurm prints it.
_REASONS = {
    "0:53": "Slurm could not open its log: the log's directory is missing, full or over quota",
    f"{Fault.SITE.exit_status}:0": "the site was at fault for too long: disk, quota, permission or "
    "network",
}
TOGETHER_S = 60.0  # between the jobs of one submission
UNASKED = "NO ANSWER"  # beside Slurm's own states: it could not be asked
GOOD = ("COMPLETED", "RUNNING", "PENDING", "COMPLETING", "CONFIGURING", "REQUEUED", UNASKED)


@dataclass(frozen=True)
class TaskStory:
    """One task over all its lives. Times in seconds, `ends` as Slurm prints it."""

    task: str  # 12_3
    state: str
    node: str = ""
    ran_s: float = 0.0
    left_s: int | None = None
    ends: str = ""
    restarts: int = 0
    reason: str = ""
    log: str = ""
    tail: tuple[str, ...] | None = ()  # of the log, what says most about an end; None: history
    has_started: bool = True  # a task that never ran has no log

    @property
    def is_over(self) -> bool:
        return self.state not in GOOD or self.state == "COMPLETED"

    @property
    def is_bad(self) -> bool:
        return self.state not in GOOD


def task_stories(
    job: JobRecord | None,
    queued: Sequence[Task] | None,
    lives: Sequence[TaskLife],
    endings: Mapping[str, Ending],
    now: float,
) -> list[TaskStory]:
    """Of every task that was submitted, waits, lives or lived, in order. `queued` is None where
    Slurm does not answer.
    """
    stories: dict[str, TaskStory] = {}
    state, reason = "UNKNOWN", "Slurm has forgotten it"
    if queued is None:
        state, reason = UNASKED, "Slurm cannot be asked"
    for task in [f"{job.job}_{n}" for n in job.tasks] if job else []:
        stories[task] = TaskStory(task, state, reason=reason, has_started=False)
    for life in lives:
        stories[life.task] = _of_life(life, now)
    for task, ending in endings.items():
        known = stories.get(task)
        if known is not None:
            stories[task] = _with_ending(known, ending)
    for each in queued or ():
        before = stories.get(each.job, TaskStory(each.job, ""))
        waiting = each.reason if each.state == "PENDING" else ""
        running = each.state == "RUNNING"
        stories[each.job] = replace(
            before,
            state=each.state,
            node=each.node,
            ran_s=float(each.seconds_run),
            left_s=each.seconds_left,
            ends=each.expected_end if running else "",
            reason=waiting or ("" if running else before.reason),
            has_started=True,
        )
    return sorted(stories.values(), key=lambda story: _order(story.task))


def with_logs(
    stories: Iterable[TaskStory], job: JobRecord | None, tails: Mapping[str, Sequence[str]]
) -> list[TaskStory]:
    """The stories with their log's path, and what it says where something went wrong; `tails` has
    the tasks that left a log.
    """
    shown = []
    for story in stories:
        log = log_path(story, job)
        tail = tuple(tails.get(story.task, ())) if story.is_bad else ()
        has_started = story.has_started or story.task in tails
        reason = story.reason
        if not has_started and story.state == "UNKNOWN":
            reason += "; it has left no log: cancelled before it started, or the log is gone"
        shown.append(replace(story, log=log, tail=tail, has_started=has_started, reason=reason))
    return shown


def without_tails(
    stories: Iterable[TaskStory], submissions: Iterable[Mapping[str, float]]
) -> list[TaskStory]:
    """The stories without the logs of jobs that another one has come after, `submissions` holding
    when the jobs of each sweep were submitted: what they failed with is history.
    """
    old = {
        job
        for times in submissions
        for job, at in times.items()
        if at < max(times.values()) - TOGETHER_S
    }
    return [
        replace(story, tail=None) if story.task.partition("_")[0] in old else story
        for story in stories
    ]


def log_path(story: TaskStory, job: JobRecord | None) -> str:
    """Where the task's log lies; empty when nothing is recorded of it."""
    number = story.task.rpartition("_")[2]
    return str(job.log_of(int(number))) if job and number.isdigit() else ""


def _of_life(life: TaskLife, now: float) -> TaskStory:
    state = "COMPLETED" if life.ended_at and not life.status else "FAILED"
    reason = life.reason
    if not life.ended_at:
        lost = now - life.seen_at > SILENT_S
        state = "LOST" if lost else "RUNNING"
        reason = "cut off: killed, or its node died" if lost else ""
    return TaskStory(
        life.task, state, life.node, life.lasted_s, restarts=life.restart, reason=reason
    )


def _with_ending(story: TaskStory, ending: Ending) -> TaskStory:
    """Slurm knows the end better than the task; the task knows the reason better than Slurm."""
    has_spoken = story.state in ("COMPLETED", "FAILED")
    has_started = story.has_started or bool(ending.node or ending.ran_s)
    status = "" if ending.state in GOOD else f"exit status {ending.exit_status}"
    if not has_spoken and ending.state not in GOOD:
        status = _end_without_a_word(story, ending, status, has_started=has_started)
    return replace(
        story,
        state=ending.state,
        node=story.node or ending.node,
        ran_s=story.ran_s or ending.ran_s,
        reason=story.reason if has_spoken and story.reason else status,
        has_started=has_started,
    )


def _end_without_a_word(story: TaskStory, ending: Ending, status: str, *, has_started: bool) -> str:
    """Why a task ended that could not say it."""
    if not has_started:
        by_hand = ending.state == "CANCELLED"
        return "cancelled before it started" if by_hand else "ended before it started"
    if known := _REASONS.get(ending.exit_status):
        return f"{known} ({status})"
    if story.has_started:  # it has left a record
        return f"cut off while it ran, {status}"
    return f"ended before it could start an agent, {status}"


def _order(task: str) -> tuple[int, int, str]:
    job, _, number = task.partition("_")
    return (
        int(job) if job.isdigit() else 0,
        int(number) if number.isdigit() else 0,
        task,
    )
