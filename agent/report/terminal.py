"""The report's tables for a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from agent.report.tables import TextTable, family_tables
from agent.results.choices import Choice
from agent.results.confirmation import PlannedPoint
from agent.results.costs import spending_sentences
from agent.results.selection import Selection
from agent.results.study import Study

if TYPE_CHECKING:  # it loads wandb, which a report of a table needs not
    from agent.tracking.queued_sweeps import Queued

# Columns that a narrow terminal does without, the first ones first.
LEAST_NEEDED = ("Pruned", "Complete", "n", "Seeds", "Matched (%)")
GAP = 2  # blanks between two columns


def print_study(study: Study, console: Console | None = None) -> None:
    """What was found, retention of every family, then spending and notes."""
    out = console or Console()
    print_answer(study, out)
    for tables in family_tables(study):
        print_table(tables[0], out, LEAST_NEEDED)
        for note in tables[0].notes:
            out.print(note, style="dim", markup=False, highlight=False)
    for sentence in (*spending_sentences(study.spending), *study.notes):
        out.print(sentence, markup=False, highlight=False)


def print_answer(study: Study, console: Console) -> None:
    """What is resolved, then one sentence for every variant."""
    for sentence in study.headline:
        console.print(sentence, style="bold", markup=False, highlight=False)
    for sentence in study.sentences:
        console.print(sentence, markup=False, highlight=False)


def print_selections(
    choices: Sequence[Choice],
    planned: Sequence[PlannedPoint],
    *,
    is_planned: bool,
    headline: Sequence[str] = (),
    console: Console | None = None,
) -> None:
    """What is resolved, every choice with its doubts, then the grid points that are missing."""
    out = console or Console()
    for sentence in headline:
        out.print(sentence, style="bold", markup=False, highlight=False)
    several = len({choice.selection.family for choice in choices}) > 1
    family = None
    for choice in choices:
        if several and choice.selection.family != family:
            family = choice.selection.family
            out.print(family, style="bold", markup=False, highlight=False)
        for line in selection_lines(choice.selection):
            out.print(line, markup=False, highlight=False)
        if choice.sentence:
            out.print(f"  {choice.sentence}", markup=False, highlight=False)
    if is_planned:
        count = f"{len(planned)} grid points are" if len(planned) > 1 else "1 grid point is"
        said = f"{count} missing:" if planned else "no grid point is missing"
        out.print(said, highlight=False)
        for point in planned:
            line = f"  seed {point.config['seed']}: {point.reason}"
            out.print(line, markup=False, highlight=False)


def print_queued(sweeps: "Sequence[Queued]", console: Console | None = None) -> None:
    """The sweeps of the missing seeds, and how their agents are started."""
    out = console or Console(width=200)  # lines to copy are not wrapped
    for sweep in sweeps:
        seeds = ", ".join(map(str, sweep.seeds))
        state = "queued" if sweep.is_new else "queued before"
        lines = (
            f"{state}: {sweep.name}, seed{'s' if len(sweep.seeds) > 1 else ''} {seeds}",
            f"  wandb agent {sweep.path}",
        )
        for line in lines:
            out.print(line, markup=False, highlight=False)
    together = " ".join(sweep.path for sweep in sweeps)
    for line in ("or all of them as an array job:", f"  sweep-agent submit {together}"):
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def selection_lines(selection: Selection) -> tuple[str, ...]:
    """One choice in words: the setting, then what makes it doubtful."""
    chosen = selection.chosen
    doubts = (*selection.edges, *selection.notes)
    if chosen is None:
        return (f"{selection.label}: no choice", *(f"  {doubt}" for doubt in doubts))
    seeds = f"{len(chosen.by_seed)} seed{'s' if len(chosen.by_seed) > 1 else ''}"
    spread = f" ± {chosen.spread:.3f}" if chosen.spread is not None else ""
    tested = "" if chosen.test is None else f"test F1 {chosen.test}, validation "
    ties = (
        f"within noise of it: {other.label} (F1 {other.mean:.3f}, by {found.method}"
        f"{'' if len(other.by_seed) > 1 else f', {selection.seed_noise}'})"
        for other, found in selection.ties
    )
    return (
        f"{selection.label}: {chosen.label}, {tested}F1 {chosen.mean:.3f}{spread} over {seeds}",
        *(f"  {doubt}" for doubt in (*ties, *doubts)),
    )


def print_table(table: TextTable, console: Console, may_drop: Sequence[str] = ()) -> None:
    """A table without frames, no wider than the console: columns of `may_drop` are left out, the
    first ones first, until the rest fits, and then named."""
    shown = fitting(table, console.width, may_drop)
    drawn = Table(
        title=table.title,
        title_justify="left",
        highlight=False,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for index in shown:
        heading = table.headings[index]
        side: JustifyMethod = "right" if heading.is_number else "left"
        width = _width(table, index)
        drawn.add_column(heading.title, justify=side, min_width=width, max_width=width)
    for row in table.rows:
        drawn.add_row(*(Text(row[index].text) for index in shown))
    console.print(drawn)
    gone = [h.title for i, h in enumerate(table.headings) if i not in shown]
    if gone:
        left = f"({', '.join(gone)}: no room at {console.width} columns)"
        console.print(left, style="dim", markup=False, highlight=False)


def fitting(table: TextTable, width: int, may_drop: Sequence[str]) -> list[int]:
    """The columns that a line of `width` characters has room for, by their places."""
    shown = list(range(len(table.headings)))
    for title in may_drop:
        if sum(_width(table, index) + GAP for index in shown) - GAP <= width:
            break
        shown = [index for index in shown if table.headings[index].title != title]
    return shown


def _width(table: TextTable, index: int) -> int:
    """Headings wrap between words, cells don't."""
    longest = [*(row[index].text for row in table.rows), *table.headings[index].title.split()]
    return max(map(len, longest))
