"""Which learning rate and evaluation point each cell is judged by, without fooling oneself.

The choice is by mean validation score over seeds. Only complete runs are candidates: a pruned run
never saw the points it would have to be compared at. What could make the choice wrong is named
beside it: candidates within noise, a winner at the edge of the grid, seeds that differ.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from agent.results.columns import CURVE, SCORE, TEST_SCORE
from agent.results.comparable import Family, cell_label, seed_of, tuned_values
from agent.results.noise import Difference, SeedNoise, difference, seed_noise
from agent.results.presentation import setting_text
from agent.results.run_table import Row, Scalar

Tuned = tuple[tuple[str, Scalar | None], ...]
Points = Literal["final", "all"]


@dataclass(frozen=True)
class TestScore:
    """Mean over seeds and the sample standard deviation; None with one seed."""

    mean: float
    spread: float | None

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + ("" if self.spread is None else f" ± {self.spread:.3f}")


@dataclass(frozen=True)
class Candidate:
    """One setting of the tuned keys at one evaluation point. `mean` is over seeds; a seed that
    ran twice counts once."""

    tuned: Tuned
    epoch: float | None
    mean: float
    by_seed: tuple[tuple[int, float], ...]
    rows: tuple[Row, ...]
    is_final: bool

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None with one seed."""
        scores = [score for _, score in self.by_seed]
        return statistics.stdev(scores) if len(scores) > 1 else None

    @property
    def test(self) -> "TestScore | None":
        """The score on the test split; None unless every run was scored at this very point."""
        seeds: dict[int, list[float]] = {}
        for row in self.rows:
            score, epoch = row.number(TEST_SCORE), row.number("test/epoch")
            is_here = self.is_final if epoch is None else _is_same_epoch(epoch, self.epoch)
            if score is None or not is_here:
                return None
            seeds.setdefault(seed_of(row), []).append(score)
        means = [statistics.fmean(scores) for scores in seeds.values()]
        spread = statistics.stdev(means) if len(means) > 1 else None
        return TestScore(statistics.fmean(means), spread)

    @property
    def label(self) -> str:
        words = ", ".join(f"{key} = {setting_text(value)}" for key, value in self.tuned)
        return words if self.epoch is None else f"{words}, epoch {self.epoch:g}"


def _is_same_epoch(one: float, other: float | None) -> bool:
    """A point after 4 of 7 steps is at 0.571…, which a choice may hold in fewer digits."""
    return other is not None and math.isclose(one, other, abs_tol=1e-6)


@dataclass(frozen=True)
class Selection:
    """The choice for one cell of one family. `chosen` is None when no run is complete."""

    family: str
    cell: tuple[str, str, str]
    chosen: Candidate | None
    candidates: tuple[Candidate, ...]  # the best point of each setting, best first
    edges: tuple[str, ...]
    remarks: tuple[str, ...]
    seed_noise: SeedNoise = field(default_factory=SeedNoise)

    @cached_property
    def differences(self) -> tuple[tuple[Candidate, Difference], ...]:
        """The chosen one against every other. Lazy, because it reads example scores."""
        if self.chosen is None:
            return ()
        others = self.candidates[1:]
        return tuple((c, difference(self.chosen, c, self.seed_noise)) for c in others)

    @property
    def ties(self) -> tuple[tuple[Candidate, Difference], ...]:
        """The candidates within noise of the chosen one."""
        return tuple((c, found) for c, found in self.differences if found.is_within_noise)

    @property
    def notes(self) -> tuple[str, ...]:
        if self.differences and self.differences[0][1].method == "unknown":
            unknown = "the noise is unknown: no per-example scores, seeds or number of examples"
            return (*self.remarks, unknown)
        return self.remarks

    @property
    def label(self) -> str:
        return cell_label(self.cell)


def select(family: Family, points: Points = "final", metric: str = SCORE) -> tuple[Selection, ...]:
    """The choice for every cell of a family, in the order of the table of variants."""
    noise = seed_noise_of(family)
    return tuple(
        _select_cell(family.label, cell, rows, points, metric, noise)
        for cell, rows in family.cells.items()
    )


def seed_noise_of(family: Family) -> SeedNoise:
    """The noise of training, from every setting of the family that has several seeds."""
    settings = (candidates_of(rows).values() for rows in family.cells.values())
    return seed_noise(found[0] for cell in settings for found in cell)


def _select_cell(
    family: str,
    cell: tuple[str, str, str],
    rows: Sequence[Row],
    points: Points,
    metric: str,
    noise: SeedNoise,
) -> Selection:
    per_setting = [best(found) for found in candidates_of(rows, points, metric).values() if found]
    ranked = tuple(sorted(per_setting, key=_rank))
    if not ranked:
        states = sorted({"pruned" if row.is_pruned else row.ending for row in rows})
        note = f"no complete run with a score (states: {', '.join(states)})"
        return Selection(family, cell, None, (), (), (note,))
    chosen = ranked[0]
    return Selection(family, cell, chosen, ranked, edges(chosen, rows), _seed_notes(ranked), noise)


def candidates_of(
    rows: Iterable[Row], points: Points = "final", metric: str = SCORE
) -> dict[Tuned, list[Candidate]]:
    """Every setting of the tuned keys with the evaluation points that all its seeds reached."""
    settings: dict[Tuned, list[Row]] = {}
    for row in rows:
        if row.is_complete and row.number(metric) is not None:
            settings.setdefault(tuned_values(row), []).append(row)
    found: dict[Tuned, list[Candidate]] = {}
    for tuned, members in settings.items():
        last = {row.epochs_run for row in members}
        final = [(row, row.number(metric) or 0.0) for row in members]
        epoch = last.pop() if len(last) == 1 else None
        found[tuned] = [_candidate(tuned, epoch, final, is_final=True)]
        if points == "all" and metric == SCORE:
            found[tuned] += _earlier_points(tuned, members)
    return found


def _earlier_points(tuned: Tuned, rows: Sequence[Row]) -> list[Candidate]:
    ends = [row.epochs_run for row in rows]
    if None in ends:
        return []
    end = min(end for end in ends if end is not None)
    curves = [{round(at, 6): score for at, score in row.curve(CURVE)} for row in rows]
    found = []
    for epoch, _ in rows[0].curve(CURVE)[:-1]:
        scores = [curve.get(round(epoch, 6)) for curve in curves]
        known = [(row, s) for row, s in zip(rows, scores, strict=True) if s is not None]
        if len(known) == len(rows) and epoch < end:
            found.append(_candidate(tuned, epoch, known, is_final=False))
    return found


def _candidate(
    tuned: Tuned, epoch: float | None, scored: Sequence[tuple[Row, float]], *, is_final: bool
) -> Candidate:
    seeds: dict[int, list[float]] = {}
    for row, score in scored:
        seeds.setdefault(seed_of(row), []).append(score)
    by_seed = tuple((seed, statistics.fmean(scores)) for seed, scores in sorted(seeds.items()))
    mean = statistics.fmean(score for _, score in by_seed)
    return Candidate(tuned, epoch, mean, by_seed, tuple(row for row, _ in scored), is_final)


def best(candidates: Sequence[Candidate]) -> Candidate:
    return min(candidates, key=_rank)


def _rank(candidate: Candidate) -> tuple[object, ...]:
    """Best mean first; of equal means the one with more seeds, then the cheaper (earlier) point,
    then the smaller value: the same table always gives the same choice."""
    epoch = math.inf if candidate.epoch is None else candidate.epoch
    values = tuple(
        (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))
        for _, value in candidate.tuned
    )
    return (-candidate.mean, -len(candidate.by_seed), epoch, values)


def edges(chosen: Candidate, rows: Iterable[Row]) -> tuple[str, ...]:
    """Where the winner stands at the end of what was tried, so that the best may lie beyond.

    What was tried includes pruned, failed and running grid points.
    """
    tried: dict[str, set[float]] = {}
    for row in rows:
        for key, value in tuned_values(row):
            if isinstance(value, int | float) and not isinstance(value, bool):
                tried.setdefault(key, set()).add(float(value))
    found = []
    for key, value in chosen.tuned:
        values = tried.get(key, set())
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        said = f"{key} = {setting_text(float(value))}"
        if len(values) == 1:
            found.append(f"{said} is the only value tried")
        elif float(value) == min(values):
            found.append(f"{said} is the lowest of {len(values)} values: try lower ones")
        elif float(value) == max(values):
            found.append(f"{said} is the highest of {len(values)} values: try higher ones")
    return tuple(found)


def _seed_notes(ranked: Sequence[Candidate]) -> tuple[str, ...]:
    counts = {len(candidate.by_seed) for candidate in ranked}
    if len(counts) < 2:
        return ()
    return (
        f"settings rest on {min(counts)} to {max(counts)} seeds, the chosen one on "
        f"{len(ranked[0].by_seed)}",
    )


def describe_selection(selection: Selection) -> dict[str, object]:
    """A selection as plain JSON, for the commands that act on it."""
    chosen = selection.chosen
    variant, strategy, method = selection.cell
    return {
        "family": selection.family,
        "model_variant": variant,
        "quantization_strategy": strategy,
        "quantization_method": method,
        "chosen": None if chosen is None else _describe(chosen),
        "within_noise": [_describe(candidate) for candidate, _ in selection.ties],
        "edges": list(selection.edges),
        "notes": list(selection.notes),
    }


def _describe(candidate: Candidate) -> dict[str, object]:
    return {
        **dict(candidate.tuned),
        "epoch": candidate.epoch,
        "mean": candidate.mean,
        "spread": candidate.spread,
        "seeds": [seed for seed, _ in candidate.by_seed],
        "is_final": candidate.is_final,
        "test": None if candidate.test is None else candidate.test.mean,
        "test_spread": None if candidate.test is None else candidate.test.spread,
        "run_ids": [row.run_id for row in candidate.rows],
        "runs": ["/".join(filter(None, [row.project, row.run_id])) for row in candidate.rows],
    }
