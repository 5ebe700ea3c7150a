"""Which grid points of a sweep are done: a pure comparison of its points with the runs there are.

A point's identity is its resolved config, so that a `seed` or `lora_rank` axis added to the file
leaves finished points finished, and a value spelled out that used to be the default changes
nothing.
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.cluster.offline_runs import NOT_SYNCED
from agent.config.run_config import RunConfig, digest
from agent.results.outcome import Outcome
from agent.tracking.reader import RunFacts


class PointState(enum.Enum):
    """From done to untouched, in the words of `status`."""

    FINISHED = "done"
    PRUNED = "pruned"
    DIVERGED = "diverged"  # a re-run would diverge again
    UNSYNCED = NOT_SYNCED  # finished on a disk: `wandb sync` sends it
    RUNNING = "running"
    PARTIAL = "cut off"  # crashed, preempted or stopped on the way: a re-run goes on from there
    FAILED = "failed"
    REUSABLE = "reusable"  # never run, but a finished run paid for its training
    NEW = "waiting"

    @property
    def is_settled(self) -> bool:
        """True when nothing is left to do for the point, now or ever."""
        return self in (
            PointState.FINISHED,
            PointState.PRUNED,
            PointState.DIVERGED,
            PointState.UNSYNCED,
            PointState.RUNNING,
        )


@dataclass(frozen=True)
class PlannedPoint:
    """One grid point and the run that stands for it, if any."""

    config: RunConfig
    values: dict[str, object]  # as the sweep file gives them
    state: PointState
    run_id: str = ""


_OF_OUTCOME = {
    Outcome.COMPLETE: PointState.FINISHED,
    Outcome.PRUNED: PointState.PRUNED,
    Outcome.DIVERGED: PointState.DIVERGED,
    Outcome.RUNNING: PointState.RUNNING,
    Outcome.FAILED: PointState.FAILED,
    Outcome.INVALID: PointState.FAILED,
}
_ORDER = list(PointState)


def plan_points(
    points: Iterable[tuple[dict[str, object], RunConfig]], runs: Iterable[RunFacts]
) -> list[PlannedPoint]:
    """Every point with its state; of several runs of one point the one that got furthest counts."""
    known = [(run, config) for run in runs if (config := _config_of(run)) is not None]
    by_point = _furthest(known)
    paid = _ORDER[: _ORDER.index(PointState.RUNNING)]
    trained = {training_name(config) for run, config in known if state_of(run) in paid}
    planned = []
    for values, config in points:
        found = by_point.get(config.point_key())
        if found is not None:
            planned.append(PlannedPoint(config, values, state_of(found), found.run_id))
        else:
            is_trained = training_name(config) in trained
            state = PointState.REUSABLE if is_trained else PointState.NEW
            planned.append(PlannedPoint(config, values, state))
    return planned


def one_per_point(runs: Iterable[RunFacts]) -> list[RunFacts]:
    """Of several runs of one point the one that got furthest, as `plan_points` takes it; and all
    runs that are not grid points of ours.
    """
    known = [(run, _config_of(run)) for run in runs]
    points = _furthest([(run, config) for run, config in known if config is not None])
    return [*points.values(), *(run for run, config in known if config is None)]


def _furthest(runs: Iterable[tuple[RunFacts, RunConfig]]) -> dict[str, RunFacts]:
    found: dict[str, RunFacts] = {}
    for run, config in runs:
        known = found.setdefault(config.point_key(), run)
        if _ORDER.index(state_of(run)) < _ORDER.index(state_of(known)):
            found[config.point_key()] = run
    return found


def state_of(run: RunFacts) -> PointState:
    """What a run means for its grid point."""
    if run.state == NOT_SYNCED:
        return PointState.UNSYNCED
    return _OF_OUTCOME.get(run.outcome, PointState.PARTIAL)


def to_fill(planned: Sequence[PlannedPoint], *, failed: bool) -> list[PlannedPoint]:
    """The points to run: missing and cut off ones; failed ones only when asked for."""
    return [
        point
        for point in planned
        if not point.state.is_settled and (failed or point.state is not PointState.FAILED)
    ]


def training_name(config: RunConfig) -> str:
    """The same for points that share a training. By names, not contents: a login node need not
    read models to tell.
    """
    names = ("base_model", "base_revision", "dataset", "validation_fraction", "test_fraction")
    values = {name: getattr(config, name) for name in (*names, "split_seed")}
    return digest(config.training_identity(values))


def _config_of(run: RunFacts) -> RunConfig | None:
    """The resolved config of a run; None for a run that is not a grid point of ours."""
    known = {name: value for name, value in run.config.items() if name in RunConfig.model_fields}
    return RunConfig.violations(known)[1]
