"""Performance retention: a variant's score over Full LoRA's, only where the two may be compared.

Two comparisons stand side by side. *Matched*: same learning rate and seed, which isolates the
variant. *Best against best*: each at its own best learning rate, which is what a user gets. Both
stay blank, with the reason, wherever the two sides did not run the same budget.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.results.columns import CURVE, SCORE
from agent.results.comparable import BASELINE, Family, seed_of, tuned_values
from agent.results.costs import mean_of
from agent.results.intervals import Interval, ratio_interval
from agent.results.noise import aligned
from agent.results.presentation import setting_text
from agent.results.run_table import Row, Scalar

Point = tuple[tuple[tuple[str, Scalar | None], ...], int]  # tuned values and seed
NO_INTERVAL = "no interval"  # how a note begins that says why


@dataclass(frozen=True)
class Retention:
    """`value` is a ratio (1 = all of Full LoRA's score kept) at the last evaluation point; None
    when it cannot be said, with the reason in `note`. `seeds` is that of the side with fewer.
    `rung_value` is the ratio at the last evaluation point that both sides reached, when one of them
    stopped early."""

    value: float | None = None
    interval: Interval | None = None
    note: str = ""
    rung_value: float | None = None
    rung_epoch: float | None = None
    seeds: int = 0

    @property
    def is_one_seed(self) -> bool:
        """The noise of training is unknown: nothing about such a ratio is significant."""
        return self.value is not None and self.seeds == 1

    @property
    def is_resolved(self) -> bool:
        """Whether the ratio differs from 1 by more than the noise of seeds and examples."""
        return self.interval is not None and self.interval.excludes(1.0)


@dataclass(frozen=True)
class MatchedRun:
    """A run and its retention against the Full LoRA run with the same tuned values and seed."""

    row: Row
    baseline: Row | None
    retention: Retention


def matched_runs(
    family: Family, metric: str = SCORE, split: str = "validation"
) -> tuple[MatchedRun, ...]:
    """Every run of the family against its matched baseline, the baseline's own runs left out."""
    baselines = family.baseline_rows
    ids = {id(row) for row in baselines}
    others = [row for row in family.rows if id(row) not in ids]
    by_point = _by_point(baselines)
    return tuple(_matched(row, by_point, metric, split) for row in others)


def _point_of(row: Row) -> Point:
    return tuned_values(row), seed_of(row)


def _by_point(baselines: Sequence[Row]) -> dict[Point, list[Row]]:
    """Looked up by thousands of runs, so made once."""
    found: dict[Point, list[Row]] = {}
    for row in baselines:
        found.setdefault(_point_of(row), []).append(row)
    return found


def _matched(
    row: Row,
    baselines: Mapping[Point, Sequence[Row]],
    metric: str,
    split: str = "validation",
    *,
    with_interval: bool = True,
) -> MatchedRun:
    point = _point_of(row)
    same = baselines.get(point, ())
    if not same:
        listed = ", ".join(f"{key} = {setting_text(v)}" for key, v in tuned_values(row))
        return MatchedRun(
            row, None, Retention(note=f"no {BASELINE} run at {listed}, seed {point[1]}")
        )
    baseline = max(same, key=lambda other: (other.is_complete, other.epochs_run or 0.0))
    found = retention([row], [baseline], metric, split, with_interval=with_interval)
    return MatchedRun(row, baseline, found)


def matched_choice(
    rows: Sequence[Row],
    family: Family,
    metric: str = SCORE,
    split: str = "validation",
    load: Callable[[Row], Row] = lambda row: row,
) -> Retention:
    """The chosen runs of one cell (its seeds) against the Full LoRA runs of the same tuned values
    and seeds. Seeds whose baseline is missing or stopped early are left out, and named. `load`
    brings the per-example scores of a baseline that come without them."""
    by_point = _by_point(family.baseline_rows)
    pairs = [_matched(row, by_point, metric, split, with_interval=False) for row in rows]
    whole = [pair for pair in pairs if pair.retention.value is not None]
    if not whole:
        return pairs[0].retention if pairs else Retention(note="no complete run")
    baselines = [load(pair.baseline) for pair in whole if pair.baseline is not None]
    found = retention([pair.row for pair in whole], baselines, metric, split)
    if len(whole) == len(pairs):
        return found
    left_out = sorted({seed_of(pair.row) for pair in pairs if pair.retention.value is None})
    listed = ", ".join(map(str, left_out))
    note = f"without seed {listed}, whose {BASELINE} run is missing or stopped early"
    return replace(found, note="; ".join(filter(None, [found.note, note])))


def retention(
    treated: Sequence[Row],
    baseline: Sequence[Row],
    metric: str = SCORE,
    split: str = "validation",
    *,
    with_interval: bool = True,
) -> Retention:
    """Ratio of mean scores of two sets of runs (over seeds), with an interval if both sides have
    per-example scores for the same prompts."""
    stopped = _stopped(baseline, f"the matched {BASELINE}") or _stopped(treated, "the run")
    if stopped:
        return _at_shared_rung(treated, baseline, stopped)
    if length := _different_length(treated, baseline):
        return Retention(note=length)
    sides = [_means(rows, metric) for rows in (treated, baseline)]
    if sides[0] is None or sides[1] is None:
        who = "the run" if sides[0] is None else BASELINE
        return Retention(note=f"{who} has no {metric}")
    if sides[1] <= 0:
        return Retention(note=f"{BASELINE} scored 0, so nothing can be kept")
    interval, note = _interval(treated, baseline, metric, split) if with_interval else (None, "")
    seeds = min(len({seed_of(row) for row in rows}) for rows in (treated, baseline))
    return Retention(sides[0] / sides[1], interval, note, seeds=seeds)


def _stopped(rows: Sequence[Row], who: str) -> str:
    for row in rows:
        if row.is_pruned:
            return f"{who} was pruned at {row.stopped_at}"
        if not row.is_complete:
            return f"{who} is {row.ending}, not finished"
    return ""


def _at_shared_rung(treated: Sequence[Row], baseline: Sequence[Row], note: str) -> Retention:
    """Never across rungs: both sides are read at the last epoch that all of them reached."""
    curves = [dict(row.curve(CURVE)) for row in (*treated, *baseline)]
    shared = sorted(set(curves[0]).intersection(*curves[1:])) if curves else []
    if not shared:
        return Retention(note=note)
    epoch = shared[-1]
    above, below = (
        statistics.fmean(row.score_at(epoch) or 0.0 for row in side) for side in (treated, baseline)
    )
    return Retention(note=note, rung_value=above / below if below > 0 else None, rung_epoch=epoch)


def _different_length(treated: Sequence[Row], baseline: Sequence[Row]) -> str:
    lengths = [row.epochs_run for row in (*treated, *baseline)]
    known = [length for length in lengths if length is not None]
    if known and not all(math.isclose(length, known[0], abs_tol=1e-6) for length in known):
        listed = ", ".join(f"{length:g}" for length in sorted(set(known)))
        return f"the two sides end at different epochs ({listed})"
    return ""


def _means(rows: Sequence[Row], metric: str) -> float | None:
    """Mean over seeds; a seed that ran twice counts once. None when a run has no value."""
    return None if any(row.number(metric) is None for row in rows) else mean_of(rows, metric)


def _interval(
    treated: Sequence[Row], baseline: Sequence[Row], metric: str, split: str
) -> tuple[Interval | None, str]:
    if differing := _differing_prompts((*treated, *baseline), split):
        return None, f"{NO_INTERVAL}: {differing} examples had other prompts"
    strange = [
        r for r in (*treated, *baseline) if r.scores.get(split) and not r.examples(split, metric)
    ]
    if strange:
        odd = strange[0].run_id
        return None, f"{NO_INTERVAL}: the example scores of run {odd} do not average to {metric}"
    sides = aligned(treated, baseline, metric, split)
    answered = max(len(row.examples(split, metric)) for row in (*treated, *baseline))
    if sides is None or sides.examples < answered:
        shared = 0 if sides is None else sides.examples
        is_partly = answered > 0 and shared > 0
        return None, (
            f"{NO_INTERVAL}: only {shared} of {answered} examples are shared" if is_partly else ""
        )
    if sides.cluster_count < 2:
        return None, f"{NO_INTERVAL}: all {sides.examples} examples come from one source"
    found = ratio_interval(sides)
    return found, "" if found else f"{NO_INTERVAL}: {BASELINE}'s score is not clear of 0"


def _differing_prompts(rows: Sequence[Row], split: str) -> int:
    hashes: dict[str, set[str]] = {}
    for row in rows:
        for example, value in row.prompts.get(split, {}).items():
            hashes.setdefault(example, set()).add(value)
    return sum(len(values) > 1 for values in hashes.values())
