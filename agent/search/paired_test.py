"""When a run is stopped: a pure function of what the runs of its stratum scored at each rung.

A run is pruned at a rung when it is past the steepest part of its own curve, and some run that has
been there is better, example by example, and would stay so if the run gained what its curve says.

- *Any* better run will do, not only the leader. So an early decision is never regretted: with
  more runs present the reasons to stop can only grow in number, and once everybody has been at
  the rung the verdict is the same for every order of arrival.
- *Patience*: a run that still gains as much as it ever did is left alone (see `trend`): one that
  lags behind by a rung, or rises late like a sigmoid, looks hopeless until it is not. One that has
  not begun to rise by half of the budget has no time left for it. A trend needs two points, so no
  run is judged at its first.
- Today's deficit is tested by a one-sided paired t test over examples. Its level is chosen such
  that a run as good as all of its rivals fails the first look with chance `level`, whatever their
  number (Dunnett 1955), and look k with `level` x `decay`^(k−1). Over all looks that is at most
  level / (1 − decay), the rule's `bound`, and far less in truth, as the looks are alike. The look
  is numbered by its rung, not by how often a verdict was asked for.
- Learning curves cross: low learning rates learn more slowly and often end higher. So the forecast
  of the run's own gain is added, `hope` times, while the better run is held to what it has. What
  deficit is left must still have a p-value of at most `doubt`.
- No run is judged before the warm-up's rung or at the last one, nor before the quorum of
  min(live runs, points left) is accounted for at the rung: has been there or was pruned earlier.
- A run is kept as long as no run that is still in the race was as good at that rung: those that
  were better may have been stopped themselves, and what is left may be a run that has hardly begun.
  So the last run of a stratum that is still in the race goes on to the full budget.

`Rule()` is the point of the frontier of saving against lost winners that costs least when a
hundredth of the final score is worth a whole grid of trainings (`docs/pruning_frontier.json`);
`Rule.patient` holds the chance to stop a run that is not worse under 10 %, and assumes nothing
about where the runs began. `Rule.bold` has no patience, for searches whose time counts more than a
late starter: its level is the lowest of the cheapest within 3 % when a tenth of the final score is
worth a whole grid, among those that keep as many winners on ordinary curves as the default.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from agent.search.example_scores import ExampleScores
from agent.search.significance import level_per_rival, p_value
from agent.search.trend import Trend, trend

Standing = Literal["running", "suspended", "pruned", "complete"]
Detail = float | int | str


@dataclass(frozen=True)
class Rule:
    """The settings of the paired comparison."""

    rungs: int  # evaluation points of the full budget
    warmup: int = 1  # rungs every run is given
    level: float = 0.8  # chance that a run as good as all its rivals fails the first look
    decay: float = 0.8  # share of the level that each look leaves to the next
    slowing: float = 0.1  # largest p-value of a run's having slowed down for it to be judged
    doubt: float = 0.25  # largest p-value of the deficit that is left when the forecast is added
    hope: float = 1.0  # how many times the forecast gain is added
    from_nothing: bool = True  # the runs began at a score of 0, so the first score is a gain
    gains: int = 2  # of its own curve that a run must have shown to be judged

    @classmethod
    def patient(cls, rungs: int, warmup: int = 1, **settings: Any) -> "Rule":
        """A run that is not worse is stopped with a chance of at most 10 %, over all looks."""
        given = {"level": 0.05, "decay": 0.5, "hope": 1.5, "doubt": 0.2, "from_nothing": False}
        return cls(rungs, warmup, **{**given, **settings})

    @classmethod
    def bold(cls, rungs: int, warmup: int = 1, **settings: Any) -> "Rule":
        """For screening: a run that still rises is judged like any other, from its first gain on.
        A run that starts late is lost."""
        return cls(rungs, warmup, **{"slowing": 1.0, "gains": 1, **settings})

    @property
    def first(self) -> int:
        """The first rung at which runs are judged."""
        return max(self.gains + (0 if self.from_nothing else 1), self.warmup)

    @property
    def bound(self) -> float:
        """No more than this is the chance, over all looks, that a run as good as all of its rivals
        is stopped, in whatever way the looks depend on each other."""
        return min(1.0, self.level / (1 - self.decay)) if self.decay < 1 else 1.0

    def level_at(self, rung: int) -> float:
        """The chance that a run as good as all of its rivals fails the comparison at `rung`."""
        return self.level * self.decay ** (rung - self.first)


@dataclass(frozen=True)
class Peer:
    """A grid point of the stratum: what it scored, and whether it is still in the race."""

    point: str  # the tuned values, the same in every run of the point
    standing: Standing
    scores: Mapping[int, ExampleScores]  # by rung

    @property
    def in_race(self) -> bool:
        return self.standing in ("running", "complete")

    @property
    def last_rung(self) -> int:
        return max(self.scores, default=0)

    def history(self, rung: int) -> tuple[tuple[ExampleScores, ...], bool]:
        """The scores up to `rung` without a gap and on its examples; whether from the first on."""
        examples, first = self.scores[rung].examples, rung
        while first - 1 in self.scores and self.scores[first - 1].examples == examples:
            first -= 1
        return tuple(self.scores[r] for r in range(first, rung + 1)), first == 1


@dataclass(frozen=True)
class Verdict:
    """What the pruner says, and why."""

    prune: bool
    rung: int  # the rung at which the run was judged; 0 when it was not judged yet
    reason: str
    details: dict[str, Detail] = field(default_factory=dict)  # for the run's summary


@dataclass(frozen=True)
class Comparison:
    """One run against a better one at one rung."""

    opponent: str
    difference: float  # mean over examples of opponent − run, > 0
    p_value: float  # that the opponent is not better
    hoped_gain: float  # what the run may still gain by the end
    hoped_p_value: float  # that the opponent is not better than the run with that gain


def judge(point: str, peers: Sequence[Peer], rule: Rule, total_points: int | None) -> Verdict:
    """Judge `point`, one of `peers`, at every rung it has been to; the first reason to stop counts.

    `total_points` is the number of points of the stratum, None when unknown.
    """
    me = next(peer for peer in peers if peer.point == point)
    if me.last_rung >= rule.rungs:
        return Verdict(False, rule.rungs, "the full budget is spent")
    verdict = Verdict(False, 0, f"not judged before rung {rule.first}")
    for rung in range(rule.first, me.last_rung + 1):
        if rung in me.scores:
            verdict = _judge_at(rung, me, peers, rule, total_points)
        if verdict.prune:
            if has_equal_in_race(me, peers, rung):
                return verdict
            verdict = kept(verdict)
    return verdict


def has_equal_in_race(me: Peer, peers: Iterable[Peer], rung: int) -> bool:
    """Whether another run that is still in the race was at least as good at a rung."""
    mine = me.scores[rung]
    return any(
        peer.scores[rung].examples == mine.examples and peer.scores[rung].mean >= mine.mean
        for peer in peers
        if peer.in_race and peer.point != me.point and rung in peer.scores
    )


def kept(verdict: Verdict) -> Verdict:
    """The verdict on a run that had to stop, but is the best that is left."""
    reason = f"{verdict.reason}; kept, because no other run of the stratum is in the race"
    reason += " that was as good"
    return Verdict(False, verdict.rung, reason, verdict.details)


def _judge_at(
    rung: int, me: Peer, peers: Sequence[Peer], rule: Rule, total_points: int | None
) -> Verdict:
    present, needed = quorum(rung, peers, total_points)
    if present < needed:
        return Verdict(False, 0, f"rung {rung} waits for its quorum: {present} of {needed} points")
    rivals = [peer for peer in peers if peer.point != me.point and rung in peer.scores]
    better = [found for peer in rivals if (found := compare(me, peer, rung, rule)) is not None]
    if not better:
        reason = f"best of {len(rivals) + 1} at rung {rung}"
        return Verdict(False, rung, reason, {"compared_runs": len(rivals)})
    level = level_per_rival(rule.level_at(rung), rivals_of(peers, total_points))
    own = trend_of(me, rung, rule)
    is_past = is_past_its_rise(own, rung, rule)
    hopeless = [x for x in better if is_past and is_hopeless(x, rule, level)]
    worst = _strongest(hopeless or better)
    details: dict[str, Detail] = {
        "compared_runs": len(rivals),
        "compared_with": worst.opponent,
        "difference": worst.difference,
        "p_value": worst.p_value,
        "level": level,
        "hoped_gain": worst.hoped_gain,
        "hoped_p_value": worst.hoped_p_value,
        "slowing_p_value": own.slowing,
    }
    reason = _sentence(rung, worst, level, len(rivals))
    if not is_past:
        reason += f"; its gains have not slowed down yet (p = {own.slowing:.2g})"
    return Verdict(bool(hopeless), rung, reason, details)


def quorum(rung: int, peers: Iterable[Peer], total_points: int | None) -> tuple[int, int]:
    """Points accounted for at a rung, and how many must be before a run is judged there."""
    known = list(peers)
    out = [peer for peer in known if peer.standing in ("pruned", "complete")]
    present = sum(rung in peer.scores or peer.standing == "pruned" for peer in known)
    live = sum(peer.standing == "running" for peer in known)
    left = live if total_points is None else max(1, total_points - len(out))
    return present, min(live, left)


def rivals_of(peers: Sequence[Peer], total_points: int | None) -> int:
    """How many runs a run is compared with in the end: those that are still to come count, so that
    the level does not depend on the order of arrival."""
    return max(len(peers), total_points or 0) - 1


def is_hopeless(found: Comparison, rule: Rule, level: float) -> bool:
    """Whether a run that is past its rise stops because of this comparison."""
    return found.p_value <= level and found.hoped_p_value <= rule.doubt


def is_past_its_rise(own: Trend, rung: int, rule: Rule) -> bool:
    """Whether a run gains less than it did, or has not gained anything by half of the budget."""
    if own.shown < rule.gains:
        return False
    return own.slowing <= rule.slowing or (2 * rung > rule.rungs and own.rising > rule.slowing)


def trend_of(me: Peer, rung: int, rule: Rule) -> Trend:
    """The trend of a run at a rung."""
    history, whole = me.history(rung)
    return trend(history, rule.rungs - rung, from_nothing=whole and rule.from_nothing)


def compare(me: Peer, rival: Peer, rung: int, rule: Rule) -> Comparison | None:
    """The run against one rival at a rung; None when the rival is not better or not comparable."""
    mine, theirs = me.scores[rung], rival.scores[rung]
    if mine.examples != theirs.examples:
        return None
    found = _test(mine, theirs, trend_of(me, rung, rule), rule.hope)
    return Comparison(rival.point, *found) if found[0] > 0 else None


@lru_cache(maxsize=1 << 15)  # every report asks again about all earlier rungs
def _test(
    mine: ExampleScores, theirs: ExampleScores, own: Trend, hope: float
) -> tuple[float, float, float, float]:
    """Mean difference and its p-value, hoped-for gain and the p-value of what it leaves."""
    gaps = theirs.values - mine.values
    difference, chance = math.fsum(gaps) / len(gaps), p_value(gaps)
    if difference <= 0 or own.mean * hope == 0.0:
        return difference, chance, 0.0, chance
    return difference, chance, hope * own.mean, p_value(gaps - hope * own.gains)


def _strongest(found: Iterable[Comparison]) -> Comparison:
    """The clearest comparison; ties are broken by values that no order of arrival changes."""
    return min(found, key=lambda item: (item.p_value, -item.difference, item.opponent))


def _sentence(rung: int, found: Comparison, level: float, rivals: int) -> str:
    return (
        f"rung {rung}: {found.difference:.4f} below {found.opponent} on the same examples "
        f"(paired p = {found.p_value:.2g}, level {level:.2g}, {rivals} compared); "
        f"{found.hoped_gain:.4f} may still be gained (p = {found.hoped_p_value:.2g} then)"
    )
