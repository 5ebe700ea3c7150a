"""Captions of a paper's tables: what brackets, n and seeds are, and on what the numbers rest."""

from agent.results.columns import COLUMNS, find
from agent.results.comparable import BASELINE, tuned_keys
from agent.results.costs import reference_gpu
from agent.results.study import FamilyReport


def retention(family: FamilyReport) -> str:
    """Of the table of scores and retention."""
    phrase = find(family.metric).phrase
    tuned = _tuned(family)
    means = _means(family)
    found = [cell.best.interval for cell in family.cells if cell.best.interval is not None]
    parts = [
        f"Performance retention. {_capital(phrase)} of each variant at its own best {tuned}, "
        f"{means} ± the sample standard deviation over seeds; retention in % of {BASELINE}'s, best "
        f"against best and at the same {tuned} and seed (matched)."
    ]
    if found:
        counts = sorted({one.examples for one in found})
        listed = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        sources = sorted({one.clusters for one in found if one.clusters < one.examples})
        where = f" from {sources[-1]} sources" if sources else ""
        parts.append(
            f"Brackets: 95 % intervals over seeds and examples; n = {listed} examples{where} of "
            f"the {family.split} split."
        )
    else:
        parts.append("Without per-example scores there are no intervals.")
    if _seeds(family) == [1]:
        parts.append("One seed: the noise of training is not included.")
    return " ".join(parts)


def costs(family: FamilyReport) -> str:
    """Of the table of costs."""
    gpu = _gpu(family)
    where = f" Times and memory on {gpu}." if gpu else ""
    return (
        f"Cost of each variant at its own best {_tuned(family)}, {_means(family)}.{where} GB: "
        "billions of bytes; blank: not measured."
    )


def gains(family: FamilyReport) -> str:
    """Of the table of ratios."""
    return (
        f"Efficiency gains: {BASELINE}'s cost over the variant's, {_means(family)} (2 means half "
        "the cost). Times and memory within one type of GPU; blank: not comparable or not measured."
    )


def selection(family: FamilyReport) -> str:
    """Of the table of choices."""
    return (
        f"Chosen settings: the best mean validation F1, {_means(family)} ± the sample standard "
        "deviation over seeds; settings within noise of the choice cannot be distinguished from it."
    )


def _tuned(family: FamilyReport) -> str:
    keys = dict.fromkeys(key for row in family.family.rows for key in tuned_keys(row))
    return ", ".join(key.replace("_", " ") for key in keys) or "setting"


def _seeds(family: FamilyReport) -> list[int]:
    chosen = [cell.selection.chosen for cell in family.cells]
    return sorted({len(one.by_seed) for one in chosen if one is not None})


def _means(family: FamilyReport) -> str:
    counts = _seeds(family)
    if not counts:
        return "mean over seeds"
    if counts == [1]:
        return "one seed"
    listed = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"mean over {listed} seeds"


def _gpu(family: FamilyReport) -> str:
    complete = [row for row in family.family.rows if row.is_complete]
    names = {reference_gpu(complete, column) for column in COLUMNS if column.is_hardware_bound}
    return " and ".join(sorted("the CPU" if name == "cpu" else name for name in names if name))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
