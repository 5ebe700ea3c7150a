"""How a run ended: the one answer that report, pages, `status`, `plan` and the W&B readers ask.

W&B calls pruned and diverged runs `finished` too, so that its state alone decides nothing: tags
and summary say the rest.
"""

import enum
from collections.abc import Collection, Mapping


class Outcome(enum.Enum):
    """The value is the word that people read."""

    RUNNING = "running"
    COMPLETE = "finished"  # went through its whole budget
    PRUNED = "pruned"  # stopped early because others did better
    DIVERGED = "diverged"  # its loss left the numbers; it ends without an error
    INVALID = "invalid"  # its config was refused, or a person declared the run void
    PREEMPTED = "preempted"
    FAILED = "failed"
    CRASHED = "crashed"
    KILLED = "killed"
    BASELINE = "baseline"  # the untouched base, not a run
    UNKNOWN = "unknown"

    @property
    def is_complete(self) -> bool:
        """Only such runs are selected, averaged or put on a Pareto front."""
        return self is Outcome.COMPLETE

    @property
    def is_pruned(self) -> bool:
        return self is Outcome.PRUNED

    @property
    def is_running(self) -> bool:
        return self is Outcome.RUNNING

    @property
    def is_cut_off(self) -> bool:
        """Ended on the way by something outside of it: a re-run goes on from its last point."""
        return self in (Outcome.PREEMPTED, Outcome.CRASHED, Outcome.KILLED, Outcome.UNKNOWN)


_OF_STATE = {
    "running": Outcome.RUNNING,
    "pending": Outcome.RUNNING,
    "finished": Outcome.COMPLETE,
    "preempting": Outcome.PREEMPTED,
    **{outcome.value: outcome for outcome in Outcome},
}
_OF_TAG = {
    outcome.value: outcome for outcome in (Outcome.INVALID, Outcome.DIVERGED, Outcome.PRUNED)
}


def outcome_of(
    state: str, tags: Collection[str] = (), values: Mapping[str, object] | None = None
) -> Outcome:
    """The outcome of a run with W&B's `state`, its tags, and its config and summary `values`.

    `invalid` weighs more than `diverged`, and that more than `pruned`. A run that ended well with
    `stopped/rung` was pruned even if the tag is missing.
    """
    words = {tag.strip().lower() for tag in tags}
    for word, outcome in _OF_TAG.items():
        if word in words:
            return outcome
    found = _OF_STATE.get(state.strip().lower(), Outcome.UNKNOWN)
    if found is Outcome.COMPLETE and (values or {}).get("stopped/rung") is not None:
        return Outcome.PRUNED
    return found
