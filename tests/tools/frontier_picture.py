"""The picture of `pruning_frontier`: saving against kept winners and against equal runs stopped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PANELS = (
    ("kept", "winner kept, ordinary families", 0.95),
    ("least_kept_late", "winner kept, worse of the late families", 0.85),
    ("equal_stopped", "equal runs stopped", None),
)
OURS = {"paired": "C3", "paired_patient": "C0", "paired_bold": "C6"}
OTHERS = ("C1", "C2", "C4", "C5", "C6", "C7", "C8", "C9")


def draw(found: Mapping[str, Any], path: Path) -> None:
    """One panel per price of saving; one line per rule, one mark per setting."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in found["frontier"] if row["rule"] != "none"]
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    colours = dict(zip([rule for rule in rules if rule not in OURS], OTHERS, strict=False))
    colours |= OURS
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(14, 4.6), layout="constrained")
    for axis, (key, title, wanted) in zip(axes, PANELS, strict=True):
        for rule in rules:
            points = sorted((row["share"], row[key]) for row in rows if row["rule"] == rule)
            style = "s-" if rule in OURS else "o--"
            xs, ys = [x for x, _ in points], [y for _, y in points]
            axis.plot(xs, ys, style, color=colours[rule], label=rule, markersize=5)
        default = next(r for r in rows if (r["rule"], r["setting"]) == ("paired", "level 0.8"))
        axis.plot(default["share"], default[key], "*", color="C3", markersize=16)
        axis.axvline(0.7, color="grey", linewidth=0.8, linestyle=":")
        if wanted is not None:
            axis.axhline(wanted, color="grey", linewidth=0.8, linestyle=":")
        axis.set_title(title)
        axis.set_xlabel("share of an oracle's saving, ordinary families")
        axis.set_ylim(-0.02, 1.02)
        axis.grid(alpha=0.3)
    axes[-1].legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
