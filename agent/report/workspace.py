"""The dashboard on W&B as a specification: plain data, made without the cloud.

`workspace_views` turns it into wandb-workspaces objects. A scatter has no colour axis for words
on W&B, so its colours are given run by run: every run has the colour of its variant.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from agent.config.variants import VARIANTS
from agent.results.columns import COLUMNS, COST_AXES, CURVE, SCORE, TEST_SCORE, TOKENS_OUT
from agent.results.comparable import cell_label, cell_of
from agent.results.presentation import LIGHT
from agent.results.run_table import Row
from agent.results.selected import SelectedFamily, selected_key

PanelKind = Literal["line", "scatter", "bar", "importance", "parallel"]
VARIANT_KEY = "variant"  # `QLoRA int4`: the two cell keys in one, which a bar chart groups by
CELL_KEYS = ("model_variant", "quantization_strategy")


@dataclass(frozen=True)
class Panel:
    """`x` and `y` are metric keys; in a parallel plot `y` lists config keys and metrics."""

    kind: PanelKind
    title: str
    y: tuple[str, ...]
    x: str = ""
    group_by: str = ""
    is_log_x: bool = False


@dataclass(frozen=True)
class Section:
    name: str
    panels: tuple[Panel, ...]
    text: str = ""
    is_grouped: bool = False  # in the Report: runs grouped by variant and strategy


@dataclass(frozen=True)
class Workspace:
    """A saved view and a Report with the same sections."""

    name: str
    sections: tuple[Section, ...]
    pinned_columns: tuple[str, ...]
    run_colours: tuple[tuple[str, str], ...]  # run id, colour
    order_by: str = SCORE

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for section in self.sections for panel in section.panels)


def specify(
    name: str, runs: Iterable[Row] = (), families: Sequence[SelectedFamily] = ()
) -> Workspace:
    """The view of a project; `runs` get the colour of their variant. The first of the `families`,
    and each other one that compares variants, has bars of its own."""
    compared = [f for f in families if f.number == 1 or len(f.variants) > 1]
    compared = compared or [SelectedFamily("", 1, ())]
    return Workspace(
        name,
        (
            _convergence(),
            *(_comparison(family, len(compared) > 1) for family in compared),
            _pareto(),
            _search(),
            *(_training(family, len(compared) > 1) for family in compared),
        ),
        _pinned_columns(),
        tuple((row.run_id, colour_of(row)) for row in runs if row.text("model_variant")),
    )


def colour_of(row: Row) -> str:
    """The colour of a run's cell, the same as in the report's figures of all five cells."""
    cells = [(v.model_variant, v.quantization_strategy, v.quantization_method) for v in VARIANTS]
    labels = [cell_label(cell) for cell in cells]
    label = cell_label(cell_of(row))
    return LIGHT[labels.index(label) if label in labels else len(labels) % len(LIGHT)]


def _convergence() -> Section:
    return Section(
        "Convergence",
        (
            Panel("line", "Validation F1", (CURVE,), x="epoch"),
            Panel("line", "Validation accuracy", ("validation/accuracy",), x="epoch"),
            Panel("line", "Training loss", ("train/loss",), x="step"),
        ),
        "Validation after every evaluation point. Pruned runs end early and carry the tag pruned.",
        is_grouped=True,
    )


def _title(title: str, family: SelectedFamily, is_named: bool) -> str:
    return f"{title}: {family.label}" if is_named else title


def _comparison(family: SelectedFamily, is_named: bool) -> Section:
    """One bar chart per metric worth comparing: the selected runs of each variant."""
    keys = [TEST_SCORE, SCORE, *(c.key for c in COLUMNS if c.gain or c.is_context)]
    return Section(
        _title("Variants compared", family, is_named),
        tuple(
            Panel(
                "bar",
                column.heading,
                (selected_key(column.key, family.number),),
                group_by=VARIANT_KEY,
            )
            for column in COLUMNS
            if column.key in keys
        ),
        "Means over seeds of each variant at its own best setting: only the runs that "
        "`sweep-agent workspace` selected have these keys, so pruned and diverged runs, other "
        "learning rates and other GPU types take no part. Retention and its intervals stand in the "
        "written report.",
        is_grouped=True,
    )


def _pareto() -> Section:
    """The score against every cost: both metrics stand on the same run, so no scatter is empty."""
    known = {column.key: column for column in COLUMNS}
    return Section(
        "Quality against cost",
        tuple(
            Panel("scatter", f"F1 against {known[key].phrase}", (SCORE,), x=key)
            for key in COST_AXES
        ),
        "Up and to the left is better. Colours tell variants apart. Only complete runs have a "
        "final score. Latency per sample favours short answers: read it beside the answer length.",
    )


def _search() -> Section:
    axes = ("learning_rate", *CELL_KEYS, COST_AXES[0], SCORE)
    return Section(
        "Search",
        (
            Panel("scatter", "F1 over learning rate", (SCORE,), x="learning_rate", is_log_x=True),
            Panel("importance", "Parameter importance", (SCORE,)),
            Panel("parallel", "Grid points", axes),
        ),
        "Which settings the score depends on.",
    )


def _training(family: SelectedFamily, is_named: bool) -> Section:
    keys = ("train/peak_vram_gb", "train/epoch_time_min", "train/throughput_samples_per_sec")
    known = {column.key: column for column in COLUMNS}
    return Section(
        _title("Training cost", family, is_named),
        tuple(
            Panel(
                "bar",
                known[key].heading,
                (selected_key(key, family.number),),
                group_by=VARIANT_KEY,
            )
            for key in keys
        ),
        "The selected runs. Runs that share a training show the same cost; only "
        "train/own_gpu_seconds may be summed.",
    )


def _pinned_columns() -> tuple[str, ...]:
    config = (*CELL_KEYS, "learning_rate", "seed")
    metrics = (SCORE, *COST_AXES, TOKENS_OUT)
    return (
        *(f"config:{key}.value" for key in config),
        *(f"summary:{key}" for key in metrics),
        "tags:__ALL__",
    )
