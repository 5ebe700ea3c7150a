"""What each variant keeps, as a forest plot, and beside it what it costs."""

from collections.abc import Mapping, Sequence

from agent.report.figures import NEUTRAL_STYLE, Figure, Series
from agent.results import columns
from agent.results.columns import find
from agent.results.comparable import BASELINE
from agent.results.presentation import LATENCY, MODEL_SIZE, TOKEN_LATENCY
from agent.results.retention import Retention
from agent.results.sentences import percent
from agent.results.study import CellReport, FamilyReport

LEAST_WIDTH = 10.0  # percent that the axis of retentions shows at least
FARTHEST = 1.5  # how far past the variants' values an interval widens the axis, in their spread
COSTS = ((MODEL_SIZE,), ("train/peak_vram_gb",), (TOKEN_LATENCY, LATENCY))
_SYMBOLS = (0, 1, 3)  # the diamond is taken
_APART = 0.24  # rows between the marks of one variant


def retention_and_cost(
    family: FamilyReport, styles: Mapping[str, int], suffix: str, words: str
) -> Figure | None:
    """Retention of every variant and of the untouched base with its interval, n and seeds; beside
    it the costs as shares of Full LoRA's."""
    entries = [(cell.label, styles[cell.label], cell.best) for cell in family.cells]
    entries += [(base.label, NEUTRAL_STYLE, base.retention) for base in family.bases]
    known = [(label, style, found) for label, style, found in entries if found.value is not None]
    if not known:
        return None
    rows = tuple(label for label, _, _ in known)
    notes = tuple(_basis(found, style) for _, style, found in known)
    series = [_interval(place, *entry) for place, entry in enumerate(known)]
    series += _matched(family, rows)
    variants = [found for _, style, found in known if style != NEUTRAL_STYLE]
    return Figure(
        f"retention{suffix}",
        f"Quality kept and cost{words}",
        f"Retention (% of {BASELINE}'s {find(family.metric).phrase})",
        "",
        tuple(series),
        "Left: each variant at its own best learning rate, with the 95 % interval over seeds and "
        "examples where per-example scores are known. Hollow: one seed, so that the noise of "
        "training is not included and nothing is significant. Small diamonds: at the variant's "
        f"learning rate and seeds, against {BASELINE} at the same ones. Arrows point to values "
        f"outside of the axis. Right: costs of the same runs as shares of {BASELINE}'s.",
        reference=100.0,
        reference_label=BASELINE,
        rows=rows,
        row_notes=notes,
        x_range=_range(variants or [found for _, _, found in known]),
        beside=_costs(family, rows, suffix),
    )


def _interval(place: int, label: str, style: int, found: Retention) -> Series:
    ends = found.interval
    return Series(
        label,
        "interval",
        style,
        (100 * (found.value or 0.0),),
        (float(place),),
        (100 * ends.low,) if ends else (),
        (100 * ends.high,) if ends else (),
        (percent(found),),
        is_named=False,
        is_hollow=found.is_one_seed,
    )


def _basis(found: Retention, style: int) -> str:
    """`n = 500, 3 seeds`; nothing for the base, which is one model."""
    if style == NEUTRAL_STYLE:
        return ""
    words = [] if found.interval is None else [f"n = {found.interval.examples}"]
    words += [f"{found.seeds} seed{'' if found.seeds == 1 else 's'}"] if found.seeds else []
    return ", ".join(words)


def _range(found: Sequence[Retention]) -> tuple[float, float]:
    """What the axis shows: the variants and Full LoRA, and their intervals unless one is so wide
    that the values could no longer be distinguished. It does not begin at 0."""
    values = [100.0, *(100 * (one.value or 0.0) for one in found)]
    spread = max(max(values) - min(values), LEAST_WIDTH)
    ends = [one.interval for one in found if one.interval is not None]
    low = min([min(values), *(100 * end.low for end in ends)])
    high = max([max(values), *(100 * end.high for end in ends)])
    low = max(low, min(values) - FARTHEST * spread)
    high = min(high, max(values) + FARTHEST * spread)
    pad = max(0.06 * (high - low), (LEAST_WIDTH - (high - low)) / 2)
    return max(low - pad, 0.0 if low >= 0 else low - pad), high + pad


def _matched(family: FamilyReport, rows: Sequence[str]) -> list[Series]:
    found = [
        (cell.label, cell.matched.value)
        for cell in family.cells
        if cell.matched.value is not None and not cell.is_baseline and cell.label in rows
    ]
    if not found:
        return []
    labels = tuple(label for label, _ in found)
    return [
        Series(
            "same learning rate and seed",
            "points",
            NEUTRAL_STYLE,
            tuple(100 * value for _, value in found),
            tuple(rows.index(label) + _APART for label in labels),
            notes=labels,
            symbol=2,
        )
    ]


def _costs(family: FamilyReport, rows: tuple[str, ...], suffix: str) -> Figure | None:
    """Shares of Full LoRA's costs, one mark for each cost that was measured on both sides. Its rows
    are the variants', which come first."""
    cells = [cell for cell in family.cells if cell.label in rows]
    rows = tuple(cell.label for cell in cells)
    chosen = [found for keys in COSTS if (found := _first_known(cells, keys)) is not None]
    if not chosen:
        return None
    series = []
    for number, (key, shares) in enumerate(chosen):
        offset = _APART * (number - (len(chosen) - 1) / 2)
        labels = tuple(shares)
        series.append(
            Series(
                find(key).title,
                "points",
                NEUTRAL_STYLE,
                tuple(100 * shares[label] for label in labels),
                tuple(rows.index(label) + offset for label in labels),
                notes=labels,
                symbol=_SYMBOLS[number],
            )
        )
    highest = max(float(x) for one in series for x in one.x)
    return Figure(
        f"relative_costs{suffix}",
        "Cost",
        f"Cost (% of {BASELINE}'s)",
        "",
        tuple(series),
        reference=100.0,
        reference_label=BASELINE,
        rows=rows,
        x_range=(0.0, 1.08 * max(highest, 100.0)),
    )


def _first_known(
    cells: Sequence[CellReport], keys: Sequence[str]
) -> tuple[str, dict[str, float]] | None:
    """The first of the metrics that a variant other than Full LoRA has a share of."""
    for key in keys:
        column = columns.find(key)
        shares = {
            cell.label: 1 / gain.ratio
            for cell in cells
            for gain in cell.gains
            if gain.column is column and gain.ratio
        }
        if any(cell.label in shares and not cell.is_baseline for cell in cells):
            return key, shares
    return None
