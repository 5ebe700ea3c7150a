"""When a run is stopped: a pure function of what the runs of its stratum scored at each rung.

A run is pruned at a rung when some run that has been there is better, example by example, by more
than chance explains, and would stay so if the run were to gain what can be hoped for.

- *Any* better run will do, not only the leader. So an early decision is never regretted: with
  more runs present the reasons to stop can only grow in number, and once everybody has been at
  the rung the verdict is the same for every order of arrival.
- Today's deficit is tested by a one-sided paired t test over examples. It is repeated at every
  rung, so look k gets the share 1/(k(k+1)) of `level`; the shares of all looks sum to at most
  `level` (union bound), and most of it is spent early, where stopping saves most. The look is
  numbered by its rung, not by how often somebody asked.
- Learning curves cross: low learning rates learn more slowly and often end higher. So a share of
  the run's last gain is added (a damped trend, Gardner 1985: φ + φ² + … of it), while the better
  run is held to what it has. At the first rung the gain is the score itself, as nobody knows where
  the run began, and one and a half times as much is hoped for (φ = 3/5); later half of it
  (φ = 1/3). A loss is not extrapolated. What deficit is left is a forecast, not an observation:
  the same test over it has to say no more than that it is likelier than not (`doubt`).
- Nobody is judged before the warm-up's rung or at the last one, nor before the quorum of
  min(live runs, points left) is accounted for at the rung: has been there or was pruned earlier.
- The last run of a stratum that is still in the race is kept to the full budget.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.special import stdtr

from agent.search.example_scores import ExampleScores

Standing = Literal["running", "suspended", "pruned", "complete"]
Detail = float | int | str


@dataclass(frozen=True)
class Rule:
    """The settings of the paired comparison."""

    rungs: int  # evaluation points of the full budget
    warmup: int = 1  # rungs every run is given: it is judged at this rung for the first time
    level: float = 0.2  # chance, over all looks, to stop a run that is not worse
    doubt: float = 0.4  # largest p-value of the deficit that is left when the hoped gain is added
    regain: float = 0.5  # share of its last gain that a run may be hoped to gain by the end
    first_regain: float = 1.5  # the same at its first rung, of its score

    @property
    def first(self) -> int:
        """The first rung at which runs are judged."""
        return max(1, self.warmup)

    def level_at(self, rung: int) -> float:
        """The share of `level` that is spent at `rung`."""
        look = rung - self.first + 1
        return self.level / (look * (look + 1))


@dataclass(frozen=True)
class Peer:
    """A grid point of the stratum: what it scored, and whether it is still in the race."""

    point: str  # the tuned values, the same for whoever runs the point
    standing: Standing
    scores: Mapping[int, ExampleScores]  # by rung

    @property
    def in_race(self) -> bool:
        return self.standing in ("running", "complete")

    @property
    def last_rung(self) -> int:
        return max(self.scores, default=0)


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
    p_value: float  # that the opponent is no better
    hoped_gain: float  # what the run may still gain by the end
    hoped_p_value: float  # that the opponent is no better than the run with that gain


def judge(point: str, peers: Sequence[Peer], rule: Rule, total_points: int | None) -> Verdict:
    """Judge `point`, one of `peers`, at every rung it has been to; the first reason to stop counts.

    `total_points` is the number of points of the stratum, None when nobody knows.
    """
    me = next(peer for peer in peers if peer.point == point)
    if me.last_rung >= rule.rungs:
        return Verdict(False, rule.rungs, "the full budget is spent")
    verdict = Verdict(False, 0, f"not judged before rung {rule.first}")
    for rung in range(rule.first, me.last_rung + 1):
        if rung in me.scores:
            verdict = _judge_at(rung, me, peers, rule, total_points)
        if verdict.prune:
            if any(peer.in_race for peer in peers if peer.point != point):
                return verdict
            reason = f"{verdict.reason}; kept, because no other run of the stratum is in the race"
            return Verdict(False, rung, reason, verdict.details)
    return verdict


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
    level = rule.level_at(rung)
    hopeless = [x for x in better if x.p_value <= level and x.hoped_p_value <= rule.doubt]
    worst = _strongest(hopeless or better)
    details: dict[str, Detail] = {
        "compared_runs": len(rivals),
        "compared_with": worst.opponent,
        "difference": worst.difference,
        "p_value": worst.p_value,
        "level": level,
        "hoped_gain": worst.hoped_gain,
        "hoped_p_value": worst.hoped_p_value,
    }
    return Verdict(bool(hopeless), rung, _sentence(rung, worst, level, len(rivals)), details)


def quorum(rung: int, peers: Iterable[Peer], total_points: int | None) -> tuple[int, int]:
    """Points accounted for at a rung, and how many must be before anybody is judged there."""
    known = list(peers)
    out = [peer for peer in known if peer.standing in ("pruned", "complete")]
    present = sum(rung in peer.scores or peer.standing == "pruned" for peer in known)
    live = sum(peer.standing == "running" for peer in known)
    left = live if total_points is None else max(1, total_points - len(out))
    return present, min(live, left)


def compare(me: Peer, rival: Peer, rung: int, rule: Rule) -> Comparison | None:
    """The run against one rival at a rung; None when the rival is not better or not comparable."""
    mine, theirs, before = me.scores[rung], rival.scores[rung], me.scores.get(rung - 1)
    if mine.examples != theirs.examples:
        return None
    if before is not None and before.examples != mine.examples:
        before = None
    share = rule.first_regain if before is None else rule.regain
    found = _test(mine, before, theirs, share)
    return Comparison(rival.point, *found) if found[0] > 0 else None


@lru_cache(maxsize=1 << 15)  # every report asks again about all earlier rungs
def _test(
    mine: ExampleScores, before: ExampleScores | None, theirs: ExampleScores, share: float
) -> tuple[float, float, float, float]:
    """Mean difference and its p-value, hoped-for gain and the p-value of what it leaves."""
    gaps = theirs.values - mine.values
    gains = mine.values - before.values if before is not None else mine.values
    difference, chance = math.fsum(gaps) / len(gaps), p_value(gaps)
    hoped_gain = share * math.fsum(gains) / len(gains)
    if hoped_gain <= 0:
        return difference, chance, 0.0, chance
    return difference, chance, hoped_gain, p_value(gaps - share * gains)


def p_value(gaps: "np.typing.NDArray[np.float64]") -> float:
    """One-sided paired t test of mean(gaps) > 0.

    Never below 2**-m with m gaps other than 0, the least that an exact sign-flip test could say:
    with few or equal gaps the t distribution promises more than the data hold.
    """
    count, mean = len(gaps), float(gaps.mean())
    least = 0.5 ** int(np.count_nonzero(gaps))
    if count < 2:
        return 1.0
    error = float(gaps.std(ddof=1)) / math.sqrt(count)
    if error == 0.0:
        return least if mean > 0 else 1.0
    return max(float(stdtr(count - 1, -mean / error)), least)


def _strongest(found: Iterable[Comparison]) -> Comparison:
    """The clearest comparison; ties are broken by values that no order of arrival changes."""
    return min(found, key=lambda item: (item.p_value, -item.difference, item.opponent))


def _sentence(rung: int, found: Comparison, level: float, rivals: int) -> str:
    return (
        f"rung {rung}: {found.difference:.4f} below {found.opponent} on the same examples "
        f"(paired p = {found.p_value:.2g}, level {level:.2g}, {rivals} compared); "
        f"{found.hoped_gain:.4f} may still be gained (p = {found.hoped_p_value:.2g} then)"
    )
