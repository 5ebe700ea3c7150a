"""The report's tables as text cells; `markdown`, `latex` and the page lay the same cells out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from agent.report import captions
from agent.results.columns import SCORE, Column, find, format_number
from agent.results.comparable import BASELINE, cell_label, cell_of, seed_of, tuned_values
from agent.results.costs import Cost
from agent.results.presentation import setting_text
from agent.results.retention import Retention
from agent.results.run_table import Row
from agent.results.selection import Candidate, Selection
from agent.results.sentences import ONE_SEED
from agent.results.study import CellReport, FamilyReport, Study

MARK = "†"  # stands where a note below the table says why a cell is blank
ONE_SEED_MARK = "‡"
ONE_SEED_NOTE = f"{ONE_SEED_MARK} {ONE_SEED}; nothing about it is significant."


@dataclass(frozen=True)
class Cell:
    """`value` sorts the column; `note` says why the cell is blank or what it rests on."""

    text: str = ""
    value: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Heading:
    title: str
    is_number: bool = True
    hint: str = ""
    is_detail: bool = False  # a paper does without it


@dataclass(frozen=True)
class TextTable:
    """`name` is the stem of its files. The `caption` is a paper's: all that a reader has to know
    who sees nothing but the table."""

    name: str
    title: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    caption: str = ""


def family_tables(study: Study) -> tuple[tuple[TextTable, ...], ...]:
    """Retention, costs, gains and selection of each family, in the study's order."""
    several = len(study.families) > 1
    found = []
    for number, family in enumerate(study.families, start=1):
        suffix, words = (f"-{number}", f" ({family.label})") if several else ("", "")
        tables = (
            retention_table(family),
            cost_table(family, study.columns),
            gain_table(family, study.columns),
            selection_table(family),
        )
        found.append(
            tuple(
                replace(
                    t,
                    name=t.name + suffix,
                    title=t.title + words,
                    caption=f"{t.caption}{f' Runs with {family.label}.' if several else ''}",
                )
                for t in tables
            )
        )
    return tuple(found)


def retention_table(family: FamilyReport) -> TextTable:
    """One row per variant at its own best learning rate, and the untouched base."""
    metric = find(family.metric)
    tuned = _tuned_headings(family)
    headings = (
        Heading("Variant", is_number=False),
        *(Heading(title) for title in tuned),
        Heading("Seeds"),
        Heading(metric.title, hint="mean over seeds ± sample standard deviation"),
        Heading("Best vs best (%)", hint=f"each against {BASELINE} at its own best"),
        Heading("Matched (%)", hint="same learning rate and seed"),
        Heading("n", hint="examples of the interval, and how many sources they come from"),
        Heading("Complete", is_detail=True),
        Heading("Pruned", is_detail=True),
    )
    rows, notes = [], []
    for cell in family.cells:
        chosen = cell.selection.chosen
        values = [_plain(value) for _, value in chosen.tuned] if chosen else []
        rows.append(
            (
                Cell(cell.label),
                *(values[i] if i < len(values) else Cell() for i in range(len(tuned))),
                Cell(str(len(chosen.by_seed)), len(chosen.by_seed)) if chosen else Cell(),
                _score(cell, metric),
                Cell("100", 100.0) if cell.is_baseline and chosen else _percent(cell.best),
                Cell("100", 100.0) if cell.is_baseline and chosen else _percent(cell.matched),
                _examples(cell.best),
                *_counts(cell.rows),
            )
        )
        notes += _reasons(cell)
    for base in family.bases:
        score = base.row.number(family.metric)
        filled = [Cell(base.label), *[Cell()] * len(tuned), Cell()]
        filled += [Cell(format_number(score, metric), score), _percent(base.retention)]
        if base.retention.note:
            notes.append(f"{base.label}: {base.retention.note}.")
        rows.append(tuple(filled + [Cell()] * 4))
    if any(part.is_one_seed for cell in family.cells for part in (cell.best, cell.matched)):
        notes.append(ONE_SEED_NOTE)
    title = "Performance retention"
    caption = captions.retention(family)
    return TextTable("retention", title, headings, tuple(rows), tuple(notes), caption)


def _examples(found: Retention) -> Cell:
    """`500`, or `500 in 50` where several examples come from one source."""
    if found.interval is None:
        return Cell()
    count, clusters = found.interval.examples, found.interval.clusters
    return Cell(f"{count} in {clusters}" if clusters < count else str(count), count)


def _counts(rows: Iterable[Row]) -> tuple[Cell, Cell]:
    found = list(rows)
    counts = (sum(row.is_complete for row in found), sum(row.is_pruned for row in found))
    return Cell(str(counts[0]), counts[0]), Cell(str(counts[1]), counts[1])


def _reasons(cell: CellReport) -> list[str]:
    found = []
    for name, part in (("best vs best", cell.best), ("matched", cell.matched)):
        if part.note and not (cell.is_baseline and part.value is not None):
            at_rung = ""
            if part.rung_value is not None:
                at_rung = (
                    f"; {100 * part.rung_value:.0f} % at epoch {part.rung_epoch:g}, where both were"
                )
            found.append(f"{cell.label}, {name}: {part.note}{at_rung}.")
    return list(dict.fromkeys(found))


def cost_table(family: FamilyReport, columns: Sequence[Column]) -> TextTable:
    """Costs of the chosen runs, means over seeds."""
    shown = [column for column in columns if column.group in ("training", "inference")]
    headings = (
        Heading("Variant", is_number=False),
        *(Heading(column.heading) for column in shown),
    )
    rows = [
        (Cell(cell.label), *(_cost(cell.costs.get(column.key), column) for column in shown))
        for cell in family.cells
    ]
    for base in family.bases:
        numbers = [(base.row.number(column.key), column) for column in shown]
        rows.append((Cell(base.label), *(Cell(format_number(v, c), v) for v, c in numbers)))
    return TextTable("costs", "Cost", headings, tuple(rows), caption=captions.costs(family))


def _cost(found: Cost | None, column: Column) -> Cell:
    """On the type of GPU that the family is measured on; another one is named."""
    if found is None:
        return Cell()
    text = format_number(found.mean, column)
    return Cell(f"{text} (on {found.other_gpu})" if found.other_gpu else text, found.mean)


def gain_table(family: FamilyReport, columns: Sequence[Column]) -> TextTable:
    """How many times cheaper than Full LoRA each variant is, within one GPU type."""
    shown = [column for column in columns if column.gain]
    headings = (
        Heading("Variant", is_number=False),
        *(
            Heading(f"{_capital(c.gain)} (×)", hint=f"{BASELINE}'s over the variant's")
            for c in shown
        ),
    )
    rows, notes = [], []
    for cell in family.cells:
        found = {gain.column.key: gain for gain in cell.gains}
        ratios = [found[column.key] for column in shown]
        texts = ("" if gain.ratio is None else f"{gain.ratio:.2f}" for gain in ratios)
        cells = (Cell(t, g.ratio, g.note) for t, g in zip(texts, ratios, strict=True))
        rows.append((Cell(cell.label), *cells))
        notes += [f"{cell.label}: {g.note}." for g in ratios if g.ratio is None and g.note]
    title = "Efficiency gains over Full LoRA (2 = half the cost)"
    said = tuple(dict.fromkeys(notes))
    return TextTable("gains", title, headings, tuple(rows), said, captions.gains(family))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def selection_table(family: FamilyReport) -> TextTable:
    """The chosen setting of every cell, at the last point and over all points."""
    points = [cell.best_point.chosen for cell in family.cells]
    selections = [cell.selection for cell in family.cells]
    found = selection_rows(selections, "Chosen settings", points)
    return replace(found, caption=captions.selection(family))


def selection_rows(
    selections: Sequence[Selection], title: str, points: Sequence[Candidate | None] | None = None
) -> TextTable:
    """Choices with what makes them doubtful: ties, edges and remarks.

    `points` are the choices over all evaluation points where the selections are of the last one.
    """
    over_all = [selection.chosen for selection in selections] if points is None else points
    headings = (
        Heading("Variant", is_number=False),
        Heading("Best setting", is_number=False),
        Heading("Validation F1", hint="mean over seeds ± sample standard deviation"),
        Heading("Best evaluation point", is_number=False, hint="over all points, by mean score"),
        Heading("Within noise of it", is_number=False),
        Heading("At the edge", is_number=False),
        Heading("Remarks", is_number=False),
    )
    rows = [
        (
            Cell(selection.label),
            Cell(_setting(selection.chosen)),
            _mean(selection.chosen),
            Cell(_point(best)),
            Cell(_ties(selection)),
            Cell("; ".join(selection.edges)),
            Cell("; ".join(selection.notes)),
        )
        for selection, best in zip(selections, over_all, strict=True)
    ]
    return TextTable("selection", title, headings, tuple(rows))


def runs_table(study: Study) -> TextTable:
    """Every run: state (with the rung where it was pruned), setting, metrics, matched retention."""
    matched = {id(m.row): m.retention for family in study.families for m in family.matched}
    keys = list(dict.fromkeys(key for row in study.rows for key, _ in tuned_values(row)))
    headings = (
        Heading("Run", is_number=False),
        Heading("Variant", is_number=False),
        Heading("State", is_number=False),
        *(Heading(key.replace("_", " ").capitalize()) for key in keys),
        Heading("Seed"),
        Heading("Epochs run"),
        *(Heading(column.heading) for column in study.columns),
        Heading("Matched retention (%)"),
    )
    rows = []
    for row in study.rows:
        label = cell_label(cell_of(row)) if row.text("model_variant") else ""
        numbers = [(row.number(column.key), column) for column in study.columns]
        epochs = row.epochs_run
        rows.append(
            (
                Cell(row.name or row.run_id),
                Cell(label),
                Cell(row.ending),
                *(_plain(row.values.get(key)) for key in keys),
                Cell(str(seed_of(row)), seed_of(row)),
                Cell(format_number(epochs), epochs),
                *(Cell(format_number(value, column), value) for value, column in numbers),
                _percent(matched.get(id(row), Retention()), is_marked=False),
            )
        )
    return TextTable("runs", "All runs", headings, tuple(rows))


def _tuned_headings(family: FamilyReport) -> list[str]:
    keys = dict.fromkeys(key for row in family.family.rows for key, _ in tuned_values(row))
    return [key.replace("_", " ").capitalize() for key in keys]


def _score(cell: CellReport, metric: Column) -> Cell:
    if cell.score is None:
        return Cell()
    spread = f" ± {cell.spread:.3f}" if cell.spread is not None else ""
    return Cell(format_number(cell.score, metric) + spread, cell.score)


def _percent(found: Retention, *, is_marked: bool = True) -> Cell:
    """`97 [91, 104]`; blank with a mark when a note says why."""
    if found.value is None:
        return Cell(MARK if found.note and is_marked else "", None, found.note)
    text = f"{100 * found.value:.1f}"
    if found.interval is not None:
        text += f" [{100 * found.interval.low:.1f}, {100 * found.interval.high:.1f}]"
    if found.is_one_seed and is_marked:
        text += ONE_SEED_MARK
    return Cell(text, 100 * found.value, found.note)


def _plain(value: object) -> Cell:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell("" if value is None else str(value))
    return Cell(setting_text(value), float(value))


def _setting(candidate: Candidate | None) -> str:
    return (
        ""
        if candidate is None
        else ", ".join(f"{k} = {_plain(v).text}" for k, v in candidate.tuned)
    )


def _point(candidate: Candidate | None) -> str:
    return "" if candidate is None else f"{candidate.label} ({candidate.mean:.3f})"


def _mean(candidate: Candidate | None) -> Cell:
    if candidate is None:
        return Cell()
    spread = f" ± {candidate.spread:.3f}" if candidate.spread is not None else ""
    return Cell(format_number(candidate.mean, find(SCORE)) + spread, candidate.mean)


def _ties(selection: Selection) -> str:
    if not selection.ties:
        return ""
    method = selection.ties[0][1].method
    return "; ".join(_setting(candidate) for candidate, _ in selection.ties) + f" (by {method})"
