"""Everything a report says, computed once from the table of runs; writers only lay it out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count

from agent.results import columns as columns_module
from agent.results import costs
from agent.results.columns import COLUMNS, SCORE, TEST_SCORE, Column
from agent.results.comparable import (
    BASE,
    BASELINE,
    BASELINE_CELL,
    Family,
    base_label,
    bases_for,
    cell_label,
    cell_of,
    families_of,
    require_joinable,
)
from agent.results.costs import Cost, Gain, Spending, gains, mean_of, reference_gpu, spending
from agent.results.presentation import FLOPS_LEFT_OUT, MODEL_SIZE, style_of, variant_labels
from agent.results.retention import MatchedRun, Retention, matched_choice, matched_runs, retention
from agent.results.run_table import Row, is_base
from agent.results.selection import Selection, select
from agent.results.sentences import nothing_sentence, opening_sentence, variant_sentence

Load = Callable[[Row], Row]


@dataclass(frozen=True)
class CellReport:
    """One variant inside one family, judged at its own best learning rate."""

    cell: tuple[str, str, str]
    rows: tuple[Row, ...]
    selection: Selection  # at the last evaluation point, or at the tested one: what is reported
    best_point: Selection  # over all evaluation points: what would be deployed
    score: float | None
    spread: float | None
    best: Retention
    matched: Retention
    gains: tuple[Gain, ...]
    values: Mapping[str, float]  # means over the seeds of the chosen runs
    costs: Mapping[str, Cost]  # the same, on one type of GPU for all cells of the family

    @property
    def label(self) -> str:
        return cell_label(self.cell)

    @property
    def is_baseline(self) -> bool:
        return self.cell == BASELINE_CELL


@dataclass(frozen=True)
class BaseReport:
    """The untouched base in one form, beside the variants of a family."""

    row: Row
    retention: Retention

    @property
    def label(self) -> str:
        return base_label(self.row)


@dataclass(frozen=True)
class FamilyReport:
    """`metric` is the headline: the test score where every choice has one, else validation."""

    family: Family
    metric: str
    cells: tuple[CellReport, ...]
    bases: tuple[BaseReport, ...]

    @property
    def label(self) -> str:
        return self.family.label

    @property
    def split(self) -> str:
        return split_of(self.metric)

    @cached_property
    def matched(self) -> tuple[MatchedRun, ...]:
        """Every run against Full LoRA's at the same tuned values and seed."""
        return matched_runs(self.family, self.metric, self.split)

    @property
    def retentions(self) -> dict[str, Retention]:
        """Best against best, of every variant but Full LoRA."""
        return {cell.label: cell.best for cell in self.cells if not cell.is_baseline}

    def sentence(self, cell: CellReport) -> str:
        """One variant in one sentence."""
        share = {g.column.key: 1 / g.ratio for g in cell.gains if g.ratio}
        phrase = columns_module.find(self.metric).phrase
        size, memory = share.get(MODEL_SIZE), share.get("train/peak_vram_gb")
        return variant_sentence(cell.label, cell.best, phrase, size, memory)

    @property
    def compared_rows(self) -> tuple[Row, ...]:
        """What stands in a scatter: the complete runs, and the untouched base in every form."""
        complete = (row for row in self.family.rows if row.is_complete)
        return (*complete, *(base.row for base in self.bases))

    def is_base(self, row: Row) -> bool:
        return any(row is base.row for base in self.bases)

    def label_of(self, row: Row) -> str:
        """The variant of one of the compared rows; one word for all forms of the untouched base."""
        return BASE if self.is_base(row) else cell_label(cell_of(row))


@dataclass(frozen=True)
class Study:
    title: str
    rows: tuple[Row, ...]
    families: tuple[FamilyReport, ...]
    columns: tuple[Column, ...]
    absent: tuple[Column, ...]
    spending: Spending
    gpu: str | None
    notes: tuple[str, ...]

    @property
    def headline(self) -> tuple[str, ...]:
        """What was resolved and what was not, family by family: the first thing to read."""
        if not self.families:
            return (nothing_sentence(len(self.rows)),)
        several = len(self.families) > 1
        return tuple(
            opening_sentence(family.retentions, family.label if several else "")
            for family in self.families
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """One for every variant but Full LoRA, with its family where there are several."""
        several = len(self.families) > 1
        return tuple(
            f"{f'{family.label}: ' if several else ''}{family.sentence(cell)}."
            for family in self.families
            for cell in family.cells
            if not cell.is_baseline
        )

    @property
    def answer(self) -> tuple[str, ...]:
        """What page, report and terminal begin with: one sentence for every variant, and before
        them what is resolved and what is not."""
        return (*self.headline, *self.sentences)

    def styles(self) -> dict[str, int]:
        """Every cell's label with the number of its colour and marker: the variant's own, the same
        in every report; cells that no table knows get the numbers after those."""
        labels = dict.fromkeys(cell.label for family in self.families for cell in family.cells)
        known = {label: style for label in labels if (style := style_of(label)) is not None}
        free = count(len(variant_labels()))
        return {label: known[label] if label in known else next(free) for label in labels}


def examine(
    rows: Sequence[Row], title: str = "Sweep report", load: Load = lambda row: row
) -> Study:
    """Compare, select and sum up. ReportError when projects must not be joined.

    `load` brings the per-example scores of the few runs that are chosen, where `rows` come without.
    """
    bases = [row for row in rows if is_base(row)]
    runs = tuple(row for row in rows if row not in bases)
    require_joinable(runs)
    families = tuple(_examine_family(family, bases, load) for family in families_of(runs))
    values = [row.values for row in rows]
    return Study(
        title=title,
        rows=runs,
        families=families,
        columns=columns_module.present_in(values),
        absent=columns_module.absent_from(values),
        spending=spending(runs),
        gpu=reference_gpu(runs),
        notes=_notes(runs, families),
    )


def split_of(metric: str) -> str:
    return "test" if metric == TEST_SCORE else "validation"


def _examine_family(family: Family, bases: Sequence[Row], load: Load) -> FamilyReport:
    final = select(family, "final")
    anywhere = select(family, "all")
    judged = anywhere if is_tested(anywhere) and not is_tested(final) else final
    metric = TEST_SCORE if is_tested(judged) else SCORE
    reference = next((s for s in judged if s.cell == BASELINE_CELL and s.chosen), None)
    baseline = tuple(map(load, reference.chosen.rows)) if reference and reference.chosen else ()
    complete = [row for row in family.rows if row.is_complete]
    gpus = {column.key: costs.reference_gpu(complete, column) for column in COLUMNS}
    cells = tuple(
        _examine_cell(family, by, over_all, baseline, metric, gpus, load)
        for by, over_all in zip(judged, anywhere, strict=True)
    )
    own = bases_for(family, bases)
    return FamilyReport(
        family,
        metric,
        cells,
        tuple(BaseReport(base, _base_retention(base, baseline, metric)) for base in own),
    )


def _examine_cell(
    family: Family,
    selection: Selection,
    best_point: Selection,
    baseline: tuple[Row, ...],
    metric: str,
    gpus: Mapping[str, str | None],
    load: Load,
) -> CellReport:
    split = split_of(metric)
    chosen = tuple(map(load, selection.chosen.rows)) if selection.chosen else ()
    if not chosen:
        best = matched = Retention(note="no complete run")
    elif not baseline:
        best = Retention(note=f"no complete {BASELINE} run")
        matched = matched_choice(chosen, family, metric, split, load)
    else:
        best = retention(chosen, baseline, metric, split)
        if selection.cell == BASELINE_CELL:  # against itself
            best = replace(best, interval=None)
        matched = matched_choice(chosen, family, metric, split, load)
    keys = dict.fromkeys([*(c.key for c in COLUMNS), *(k for r in chosen for k in r.values)])
    means = {key: mean for key in keys if (mean := mean_of(chosen, key)) is not None}
    on_one_gpu = {c.key: costs.cost_of(chosen, c, gpus[c.key]) for c in COLUMNS}
    spread = selection.chosen.spread if selection.chosen else None
    tested = selection.chosen.test if selection.chosen and metric == TEST_SCORE else None
    if tested is not None:
        spread = tested.spread
        means[metric] = tested.mean
    return CellReport(
        selection.cell,
        family.cells[selection.cell],
        selection,
        best_point,
        means.get(metric),
        spread,
        best,
        matched,
        gains(chosen, baseline),
        means,
        {key: cost for key, cost in on_one_gpu.items() if cost is not None},
    )


def is_tested(selections: Sequence[Selection]) -> bool:
    """Whether every choice was scored on the test split: then that score is the headline."""
    chosen = [selection.chosen for selection in selections if selection.chosen]
    return bool(chosen) and all(candidate.test is not None for candidate in chosen)


def _base_retention(base: Row, baseline: Sequence[Row], metric: str) -> Retention:
    mine, theirs = base.number(metric), mean_of(baseline, metric)
    if mine is None or theirs is None or theirs <= 0:
        return Retention(note=f"no {metric} on one of the two sides")
    return Retention(mine / theirs)


def flops_notes(rows: Sequence[Row]) -> list[str]:
    """Why training FLOPs are missing, a sentence for each reason."""
    reasons = [reason for row in rows if (reason := row.text(FLOPS_LEFT_OUT))]
    return [
        f"FLOPs of {reasons.count(reason)} run{'s' if reasons.count(reason) > 1 else ''} are left "
        f"out: {reason}."
        for reason in sorted(set(reasons))
    ]


def _notes(rows: Sequence[Row], families: Sequence[FamilyReport]) -> tuple[str, ...]:
    notes = []
    if any(family.metric == SCORE for family in families):
        notes.append(
            "Learning rates were chosen on the validation data that they are reported on; "
            "score the chosen runs once on the untouched test split for the headline."
        )
    without = [family for family in families if not family.bases]
    if without and len(without) == len(families):
        notes.append(
            "The untouched base model is not in this report, so what training itself brings is "
            "not shown: `sweep-agent baseline` scores it, and --baseline adds it."
        )
    elif without:
        names = "; ".join(family.label for family in without)
        notes.append(f"No untouched base of the same base, data and evaluation for: {names}.")
    if len(families) > 1:
        notes.append(
            f"{len(families)} groups of runs differ in more than variant, tuned keys and seed; "
            "each is compared only within itself."
        )
    gpus = sorted({name for row in rows if (name := row.text(columns_module.GPU))})
    if len(gpus) > 1:
        notes.append(
            f"Runs on {len(gpus)} GPU types ({', '.join(gpus)}): times and memory are "
            "compared only within one type."
        )
    notes += flops_notes(rows)
    lost = [row for row in rows if not row.text("model_variant")]
    if lost:
        notes.append(f"{len(lost)} runs name no model_variant and take no part in comparisons.")
    states = sorted({row.ending for row in rows if not row.is_complete and not row.is_pruned})
    if states:
        notes.append(f"Runs that are {', '.join(states)} are listed but not compared.")
    return tuple(notes)
