"""The pruners `paired…`: `paired_test.judge` behind Optuna's interface."""

import json
import time
from collections.abc import Callable, Iterable

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from agent.search.example_scores import ExampleScores
from agent.search.paired_test import Peer, Rule, Standing, Verdict, judge

# System attributes of a trial.
RUN = "sweep:run"  # the W&B run that owns it
POINT = "sweep:point"  # the tuned values as text
ALIVE_UNTIL = "sweep:alive_until"  # unix seconds; renewed while the worker lives
LEAVING = "sweep:leaving"  # about to be pruned
VERDICT = "sweep:verdict"  # the verdict a pruned run stopped with
SCORES = "sweep:scores:"  # + rung → ExampleScores.encode()

_STANDINGS: tuple[Standing, ...] = ("suspended", "pruned", "running", "complete")


class PairedPruner(BasePruner):
    """Stops a run that a paired test on per-example scores finds worse: see `paired_test`.

    Works on trials that carry their example scores (`agent.search.trials` writes them); a trial
    that reports only means is never stopped.
    """

    def __init__(
        self, rule: Rule, *, peers: int | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """`peers` is the number of grid points of the stratum, None when it is not known."""
        self.rule = rule
        self._peers = peers
        self._clock = clock

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return self.judge(study, trial).prune

    def judge(self, study: Study, trial: FrozenTrial) -> Verdict:
        """The verdict on `trial`, with its reason, from everybody in the study."""
        peers = peers_of(study.get_trials(deepcopy=False), self._clock())
        return judge(point_of(trial), peers, self.rule, self._peers)


def peers_of(trials: Iterable[FrozenTrial], now: float) -> list[Peer]:
    """The grid points of a study, each once, in an order that no order of arrival changes.

    Failed trials say nothing about their point. Where one point was run twice, the longer curve
    and the better standing count.
    """
    points: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        if trial.state != TrialState.FAIL:
            points.setdefault(point_of(trial), []).append(trial)
    return [_peer(point, same, now) for point, same in sorted(points.items())]


def point_of(trial: FrozenTrial) -> str:
    text = trial.system_attrs.get(POINT)
    if text is None:
        text = json.dumps(trial.params, sort_keys=True) if trial.params else f"#{trial.number}"
    return str(text)


def standing_of(trial: FrozenTrial, now: float) -> Standing:
    """Where a trial that has not failed stands; one whose worker died or paused is suspended."""
    if trial.state == TrialState.COMPLETE:
        return "complete"
    if trial.state == TrialState.PRUNED or trial.system_attrs.get(LEAVING):
        return "pruned"
    alive = float(trial.system_attrs.get(ALIVE_UNTIL, now)) >= now
    return "running" if trial.state == TrialState.RUNNING and alive else "suspended"


def scores_of(trial: FrozenTrial) -> dict[int, ExampleScores]:
    """The example scores a trial carries, by rung."""
    return {
        int(name.removeprefix(SCORES)): ExampleScores.decode(text)
        for name, text in trial.system_attrs.items()
        if name.startswith(SCORES)
    }


def _peer(point: str, trials: list[FrozenTrial], now: float) -> Peer:
    scores: dict[int, ExampleScores] = {}
    for trial in sorted(trials, key=lambda trial: len(trial.system_attrs)):
        scores.update(scores_of(trial))
    best = max((standing_of(trial, now) for trial in trials), key=_STANDINGS.index)
    return Peer(point, best, scores)
