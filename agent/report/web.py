"""The report as one HTML file that opens without internet: Plotly and all data stand inside it."""

import itertools
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from agent.report.figures import NEUTRAL, NEUTRAL_STYLE, Figure
from agent.report.plotly_traces import SYMBOLS, to_plotly
from agent.report.tables import family_tables, runs_table
from agent.report.trade_off import describe_in
from agent.results import pareto
from agent.results.columns import Column
from agent.results.comparable import gpu_of
from agent.results.costs import spending_sentences
from agent.results.presentation import DARK, LIGHT
from agent.results.run_table import Row
from agent.results.study import FamilyReport, Study


def page(study: Study, figures: Sequence[Figure]) -> str:
    """The whole HTML text."""
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    source = resources.files("agent.report").joinpath("report.html.jinja").read_text("utf-8")
    drawn, scatters = payload(study, figures)
    sections = [
        {
            "family": family,
            "number": number,
            "tables": tables,
            "first": _first_of(study, figures, number),
            "figures": _figures_of(study, figures, number),
            "scatter": f"scatter-{number}" if f"scatter-{number}" in scatters else "",
        }
        for number, (family, tables) in enumerate(
            zip(study.families, family_tables(study), strict=True), start=1
        )
    ]
    return environment.from_string(source).render(
        study=study,
        sections=sections,
        runs=runs_table(study),
        spending=spending_sentences(study.spending),
        plotly=get_plotlyjs(),
        data=embed(
            {
                "figures": drawn,
                "scatters": scatters,
                "palette": {"light": [*LIGHT], "dark": [*DARK]},
                "neutral": NEUTRAL,
                "symbols": SYMBOLS,
            }
        ),
    )


def _first_of(study: Study, figures: Sequence[Figure], number: int) -> Figure | None:
    """Quality and cost side by side: what a family's section begins with."""
    name = "retention" + (f"-{number}" if len(study.families) > 1 else "")
    return next((figure for figure in figures if figure.name == name), None)


def _figures_of(study: Study, figures: Sequence[Figure], number: int) -> list[Figure]:
    """The figures of one family; its Pareto scatter is drawn with axes the reader chooses."""
    suffix = f"-{number}" if len(study.families) > 1 else ""
    order = [name + suffix for name in ("convergence", "learning_rates")]
    return sorted((f for f in figures if f.name in order), key=lambda f: order.index(f.name))


def embed(value: object) -> str:
    """JSON that may stand inside a script element: no markup, and no NaN."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def payload(study: Study, figures: Sequence[Figure]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures by name as Plotly's `data` and `layout`, and the scatters by element id."""
    panels = [panel for figure in figures for panel in figure.panels]
    drawn = {f.name: to_plotly(f) for f in panels if not f.name.startswith("pareto")}
    chosen = {f.name: f for f in figures if f.name.startswith("pareto")}
    scatters = {}
    for number, family in enumerate(study.families, start=1):
        suffix = f"-{number}" if len(study.families) > 1 else ""
        found = scatter(family, study, chosen.get(f"pareto{suffix}"))
        if found is not None:
            scatters[f"scatter-{number}"] = found
    return drawn, scatters


def scatter(family: FamilyReport, study: Study, first: Figure | None) -> dict[str, Any] | None:
    """Every complete run with all its numbers, and the Pareto front of every pair of metrics."""
    rows = family.compared_rows
    axes = [
        c for c in study.columns if c.group != "cost" and not c.is_context and _has_two(rows, c)
    ]
    if len(axes) < 2:
        return None
    styles = study.styles()
    points = []
    for row in rows:
        label = family.label_of(row)
        points.append(
            {
                "label": label,
                "style": styles.get(label, NEUTRAL_STYLE),
                "text": describe_in(family, row),
                "values": {axis.key: row.number(axis.key) for axis in axes},
                "gpus": {group: gpu_of(row, group) for group in ("training", "inference")},
            }
        )
    by_heading = {axis.heading: axis.key for axis in axes}
    return {
        "axes": [
            {
                **{"key": a.key, "heading": a.heading, "better": a.better},
                "gpu": a.group if a.is_hardware_bound else None,
            }
            for a in axes
        ],
        "points": points,
        "gpus": gpus_of(rows),
        "fronts": _fronts(rows, axes),
        "x": (by_heading.get(first.x_title) if first else None) or axes[-1].key,
        "y": (by_heading.get(first.y_title) if first else None) or axes[0].key,
    }


def gpus_of(rows: Sequence[Row]) -> list[str]:
    """The types of GPU that a reader may choose among, that with most runs first."""
    named = [gpu for row in rows for g in ("training", "inference") if (gpu := gpu_of(row, g))]
    return sorted(set(named), key=lambda gpu: (-named.count(gpu), gpu))


def _fronts(rows: Sequence[Row], axes: Sequence[Column]) -> dict[str, list[int]]:
    """Under `GPU|x y` the front of every pair of metrics among the runs on one type of GPU; what
    depends on none is of all runs."""
    found: dict[str, list[int]] = {}
    for x, y in itertools.combinations(axes, 2):
        for gpu in gpus_of(rows) or [""]:
            own = [i for i, row in enumerate(rows) if all(_is_on(row, a, gpu) for a in (x, y))]
            front = pareto.front_of([rows[i] for i in own], x, y)
            found[f"{gpu}|{x.key} {y.key}"] = [own[place] for place in front]
    return found


def _is_on(row: Row, column: Column, gpu: str) -> bool:
    return not column.is_hardware_bound or gpu_of(row, column.group) in (None, gpu)


def _has_two(rows: Sequence[Row], column: Column) -> bool:
    return sum(row.number(column.key) is not None for row in rows) > 1
