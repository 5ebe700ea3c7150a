"""A picture of a replay: what each policy saves against what it costs, per number of workers."""

from collections.abc import Sequence
from pathlib import Path

from agent.search.replay.replay import Row

_MARKS = "oD^v<>PX*phd8"
_COLOURS = ("C0", "C1", "C2", "C4", "C5", "C6", "C7", "C8", "C9", "k")  # C3, red, is ours


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the picture in the format that the file name says (png, svg, pdf)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = sorted({(row.warmup, row.workers) for row in rows})
    warmups = sorted({warmup for warmup, _ in panels})
    columns = len(panels) // len(warmups)
    figure, axes = pyplot.subplots(
        len(warmups),
        columns,
        figsize=(4.2 * columns, 3.6 * len(warmups)),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    names = list(dict.fromkeys(row.policy for row in rows))
    for (warmup, workers), axis in zip(panels, axes.flat, strict=True):
        for row in (row for row in rows if (row.warmup, row.workers) == (warmup, workers)):
            spread = [[row.regret - row.regret_low], [row.regret_high - row.regret]]
            ours = row.policy == "paired"
            axis.errorbar(
                row.deployments,
                row.regret,
                yerr=[[max(0.0, part[0])] for part in spread],
                fmt="s" if ours else _MARKS[names.index(row.policy) % len(_MARKS)],
                label=row.policy,
                color="C3" if ours else _COLOURS[names.index(row.policy) % len(_COLOURS)],
                markersize=9 if ours else 6,
                capsize=2,
            )
        axis.set_title(f"{workers} workers, warm-up {warmup}")
        axis.set_xlabel("full grid / evaluation points trained")
        axis.grid(alpha=0.3)
    for axis in axes[:, 0]:
        axis.set_ylabel("regret (final score)")
    axes[0, -1].legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
