"""The trial of a run: report an evaluation point, hear whether to go on.

    with open_trial(config, run_id=run.id, …) as trial:
        for point in points:
            if trial.report(point.number, point.example_scores).prune:
                break

Reporting never waits for other runs. A verdict may come later than its rung, when enough others
have been there: `reconsider` asks again between two points.
"""

import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import NopPruner
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from agent.config.run_config import RunConfig
from agent.config.values import point_text
from agent.errors import StudyError
from agent.search import paired_pruner
from agent.search.example_scores import HISTORY_KEY, ExampleScores
from agent.search.paired_test import Verdict, has_equal_in_race, kept
from agent.search.pruners import build_pruner
from agent.search.storages import (
    is_journal_file,
    open_storage,
    release_connections,
    shown,
    storage_errors,
)
from agent.search.studies import (
    adopt_trial,
    open_study,
    release_stale,
    supersede,
)

__all__ = ["Outrun", "Trial", "Verdict", "history_values", "open_trial"]

BEAT_S = 60.0  # between two signs of life
LOOKS_PER_POINT = 20  # at what the others have reported, between two evaluation points
SHORTEST_LOOK_S, LONGEST_LOOK_S = 0.2, 5.0  # between two looks, however short or long a point
BEATS_MISSED = 5  # so many missed, and the worker counts as gone


def history_values(example_scores: Mapping[str, float]) -> dict[str, str]:
    """What a run logs of an evaluation point, so that its curve can be replayed with others'."""
    return {HISTORY_KEY: ExampleScores.of(example_scores).encode()}


class Outrun(Exception):
    """Raised between two steps of a run that the others have outrun; its trial is pruned."""


class Trial:
    """A run's place in its stratum's study. Made by `open_trial`."""

    def __init__(
        self,
        study: Study,
        storage: BaseStorage,
        frozen: FrozenTrial,
        *,
        rungs: int,
        place: str,
        former: Verdict | None = None,
    ) -> None:
        self._study = study
        self._storage = storage
        self._id = frozen._trial_id
        self._rungs = rungs
        self._place = place  # for messages
        self._former = former  # how the same grid point was pruned under another run
        self._suspended = False
        self._judged_at = -math.inf  # monotonic seconds
        self._reported_at, self._point_s = time.monotonic(), math.inf
        self._lock = threading.Lock()  # against the thread that gives signs of life
        self._finished = frozen.state.is_finished()
        self.verdict = _stored_verdict(frozen) or Verdict(False, 0, "nothing was reported yet")

    @property
    def number(self) -> int:
        """Optuna's number of the trial in its study."""
        with self._storage_open():
            return self._frozen().number

    @property
    def study_name(self) -> str:
        return self._study.study_name

    @property
    def reported_rungs(self) -> tuple[int, ...]:
        """The evaluation points this trial holds, those of an earlier attempt included."""
        with self._storage_open():
            return tuple(sorted(paired_pruner.scores_of(self._frozen())))

    def report(self, rung: int, example_scores: Mapping[str, float]) -> Verdict:
        """Record one evaluation point (1-based) and judge the run wherever there is a quorum.

        `example_scores` maps example ids to scores, higher is better; their mean is the trial's
        value at `rung`. A rung that was reported before keeps its first scores, and a run that
        reports its way back to where it was is judged when it gets there. Raises StudyError when
        a score is not a number or the storage fails.
        """
        if not 1 <= rung <= self._rungs:
            raise StudyError(f"rung {rung} was reported; this run has rungs 1 to {self._rungs}")
        scores = ExampleScores.of(example_scores)
        now = time.monotonic()
        self._reported_at, self._point_s = now, now - self._reported_at
        with self._storage_open():
            frozen = self._frozen()
            if rung < max(frozen.intermediate_values, default=0):
                return Verdict(False, rung, f"rung {rung} was reported before an interruption")
            if self._finished:
                return self.verdict
            try:
                self._record(frozen, rung, scores)
            except UpdateFinishedTrialError:
                raise StudyError(
                    f"trial {frozen.number} was ended by another process ({frozen.state.name}); "
                    "is the same run going on twice?"
                ) from None
            return self._judge()

    def reconsider(self, *, at_most_every_s: float = 0.0) -> Verdict:
        """Judge again without a new report: others may have reached a rung in the meantime.

        Of runs in lock-step only the last to report a rung finds its quorum there; the others
        learn here, some steps later, instead of an evaluation point later. Meant to be called
        between steps: asked again within `at_most_every_s`, it only repeats the last verdict.
        """
        is_due = time.monotonic() - self._judged_at >= at_most_every_s
        if is_due and not self._finished and self.verdict.rung < self._rungs:
            with self._storage_open():
                self._judge()
        return self.verdict

    def stop_if_outrun(self) -> None:
        """Raise Outrun when the others have meanwhile settled that this run cannot win.

        Meant to be called between steps; looks into the storage so often that a run trains on for
        at most a twentieth of its last evaluation point, within bounds.
        """
        every_s = time_between_looks_s(self._point_s, self._storage)
        if self.reconsider(at_most_every_s=every_s).prune:
            raise Outrun(self.verdict.reason)

    def suspend(self) -> None:
        """The run is interrupted and will be resumed: leave the trial to be taken up again."""
        self._suspended = True

    # ------------------------------------------------------------------ inside
    @contextmanager
    def _storage_open(self) -> Iterator[None]:
        with self._lock, storage_errors(self._place):
            try:
                yield
            finally:
                release_connections(self._storage)

    def _frozen(self) -> FrozenTrial:
        return self._storage.get_trial(self._id)

    def _record(self, frozen: FrozenTrial, rung: int, scores: ExampleScores) -> None:
        if frozen.state == TrialState.WAITING:  # taken for dead while this process was stalled
            self._storage.set_trial_state_values(self._id, TrialState.RUNNING)
        name = f"{paired_pruner.SCORES}{rung}"
        if name not in frozen.system_attrs:
            self._storage.set_trial_system_attr(self._id, name, scores.encode())
        if rung not in frozen.intermediate_values:
            kept = frozen.system_attrs.get(name)
            mean = ExampleScores.decode(kept).mean if kept else scores.mean
            self._storage.set_trial_intermediate_value(self._id, rung, mean)

    def _judge(self) -> Verdict:
        if self.verdict.prune:  # said once, it holds, also when the caller went on
            return self.verdict
        self._judged_at = time.monotonic()
        frozen = self._frozen()
        rung = max(frozen.intermediate_values, default=0)
        if not rung:
            return self.verdict
        verdict = self._former_verdict(rung) or self._ask(frozen, rung)
        if verdict.prune and not self._may_leave(verdict.rung):
            verdict = kept(verdict)
        if verdict.prune:
            text = json.dumps(asdict(verdict))
            self._storage.set_trial_system_attr(self._id, paired_pruner.VERDICT, text)
        self.verdict = verdict
        return verdict

    def _former_verdict(self, rung: int) -> Verdict | None:
        return self._former if self._former is not None and rung >= self._former.rung else None

    def _ask(self, frozen: FrozenTrial, rung: int) -> Verdict:
        pruner = self._study.pruner
        if isinstance(pruner, paired_pruner.PairedPruner):
            return pruner.judge(self._study, frozen)
        if isinstance(pruner, NopPruner):
            return Verdict(False, rung, "no pruning (pruner: none)")
        if rung >= self._rungs:
            return Verdict(False, rung, "the full budget is spent")
        prune = bool(rung and pruner.prune(self._study, frozen))  # numpy's bool is not a bool
        said = "prunes" if prune else "keeps"
        value = frozen.intermediate_values.get(rung, float("nan"))
        reason = f"rung {rung}: {type(pruner).__name__} {said} the run at {value:.4f}"
        return Verdict(prune, rung, reason, {"value": value})

    def _may_leave(self, rung: int) -> bool:
        """Whether another run stays in the race that was as good at a rung when this one stops.

        Two last runs may ask at the same moment. Each first writes that it is leaving and then
        looks, so the one that writes last sees the other go and stays.
        """
        self._storage.set_trial_system_attr(self._id, paired_pruner.LEAVING, True)
        own = paired_pruner.point_of(self._frozen())
        peers = paired_pruner.peers_of(self._study.get_trials(deepcopy=False), time.time())
        me = next(peer for peer in peers if peer.point == own)
        if rung in me.scores and has_equal_in_race(me, peers, rung):
            return True
        self._storage.set_trial_system_attr(self._id, paired_pruner.LEAVING, False)
        return False

    def renew(self, now: float, alive_until: float) -> bool:
        """Sign of life, and a look for others that give none; False when the trial has ended."""
        with self._storage_open(), suppress(UpdateFinishedTrialError):
            frozen = self._frozen()
            if frozen.state.is_finished():
                return False
            if frozen.state == TrialState.WAITING:
                self._storage.set_trial_state_values(self._id, TrialState.RUNNING)
            self._storage.set_trial_system_attr(self._id, paired_pruner.ALIVE_UNTIL, alive_until)
            release_stale(self._storage, now)
            return True
        return False

    def close(self, *, failed: bool) -> None:
        """End the trial: complete at the full budget, pruned, failed, or left to be resumed."""
        if self._finished:
            return
        self._finished = True
        with self._storage_open(), suppress(UpdateFinishedTrialError):
            frozen = self._frozen()
            last = max(frozen.intermediate_values, default=0)
            if self._suspended:
                self._storage.set_trial_state_values(self._id, TrialState.WAITING)
            elif not failed and self.verdict.prune:
                self._storage.set_trial_user_attr(self._id, "pruned", self.verdict.reason)
                value = [frozen.intermediate_values[last]]
                self._storage.set_trial_state_values(self._id, TrialState.PRUNED, value)
            elif not failed and last >= self._rungs:
                value = [frozen.intermediate_values[last]]
                self._storage.set_trial_state_values(self._id, TrialState.COMPLETE, value)
            else:
                cause = "failed" if failed else "stopped"
                text = f"{cause} after rung {last} of {self._rungs}"
                self._storage.set_trial_user_attr(self._id, "ended", text)
                self._storage.set_trial_state_values(self._id, TrialState.FAIL)


def time_between_looks_s(point_s: float, storage: BaseStorage) -> float:
    """How long a run goes on between two looks, when its last evaluation point took `point_s`.

    A look at a journal on 40 runs takes less than a millisecond; a server is connected to for each.
    """
    shortest = SHORTEST_LOOK_S if is_journal_file(storage) else LONGEST_LOOK_S
    return min(max(point_s / LOOKS_PER_POINT, shortest), LONGEST_LOOK_S)


@contextmanager
def open_trial(
    config: RunConfig,
    *,
    run_id: str,
    scope: str,
    rungs: int,
    peers: int | None,
    default_journal: Path,
    beat_s: float = BEAT_S,
) -> Iterator[Trial]:
    """The trial of run `run_id` in the study of its stratum, for as long as the run goes on.

    `scope` keeps apart what must not be compared although the configs agree (project, digests of
    data and evaluation). `rungs` is the number of evaluation points of the full budget, `peers`
    the number of grid points of the stratum (None when unknown). The journal at `default_journal`
    is used unless `config.pruning_storage` names another place.

    Left normally, the trial is complete (all rungs reported), pruned (the last verdict said so) or
    failed (stopped early); left by an exception, failed; after `suspend`, resumable. A run that
    is opened again goes on with its trial; a pruned one stays pruned. Raises ConfigError for a
    wrong pruner option, StudyError when the storage cannot be used.
    """
    pruner = build_pruner(config, rungs=rungs, peers=peers)
    storage = open_storage(config.pruning_storage, default_journal)
    place = shown(config.pruning_storage or str(default_journal))
    with storage_errors(place):
        now = time.time()
        study = open_study(storage, scope, config, pruner)
        frozen = adopt_trial(study, storage, config, run_id, now + BEATS_MISSED * beat_s)
        release_stale(storage, now)
        supersede(study, storage, run_id, paired_pruner.point_of(frozen), now)
        former = _former_verdict(study, run_id, point_text(config.tuned_values()))
        trial = Trial(study, storage, frozen, rungs=rungs, place=place, former=former)
        release_connections(storage)
    with _signs_of_life(trial, beat_s):
        try:
            yield trial
        except BaseException:
            with suppress(StudyError):  # what went wrong in the run is what has to be reported
                trial.close(failed=True)
            raise
    trial.close(failed=False)


@contextmanager
def _signs_of_life(trial: Trial, beat_s: float) -> Iterator[None]:
    """Renew the trial from a thread, so that a long epoch is not taken for a dead worker."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(beat_s):
            with suppress(StudyError):  # the run itself will say so when it reports
                now = time.time()
                if not trial.renew(now, now + BEATS_MISSED * beat_s):
                    return

    thread = threading.Thread(target=beat, name="trial-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=5.0)


def _stored_verdict(trial: FrozenTrial) -> Verdict | None:
    text = trial.system_attrs.get(paired_pruner.VERDICT)
    return Verdict(**json.loads(text)) if text else None


def _former_verdict(study: Study, run_id: str, point: str) -> Verdict | None:
    """The verdict that stopped the same grid point under another run."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)):
        if (
            trial.system_attrs.get(paired_pruner.RUN) != run_id
            and paired_pruner.point_of(trial) == point
        ):
            return _stored_verdict(trial)
    return None
