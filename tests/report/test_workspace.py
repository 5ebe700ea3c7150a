import json

import pytest

from agent.report import workspace, workspace_views
from agent.results.columns import SCORE
from agent.results.presentation import LIGHT
from tests.results.known_table import known_rows, run

SPECIFICATION = workspace.specify("Variants compared", known_rows())


def test_the_view_has_the_curves_comparison_pareto_and_importance() -> None:
    kinds = {panel.kind for panel in SPECIFICATION.panels()}
    assert kinds == {"line", "bar", "scatter", "importance", "parallel"}
    convergence = SPECIFICATION.sections[0].panels[0]
    assert (convergence.x, convergence.y) == ("epoch", ("validation/f1_score",))


def test_both_axes_of_every_scatter_stand_on_one_run() -> None:
    scatters = [p for p in SPECIFICATION.panels() if p.kind == "scatter"]
    assert {p.y for p in scatters} == {(SCORE,)}
    assert "inference/avg_latency_ms_per_sample" in {p.x for p in scatters}


def test_every_run_has_the_colour_of_its_variant() -> None:
    colours = dict(SPECIFICATION.run_colours)
    assert len(colours) == 20
    assert colours["full-0.001-0"] == LIGHT[0]
    assert colours["qlora4-0.001-0"] == colours["qlora4-0.02-0"] == LIGHT[1]
    assert len(set(colours.values())) == 5


def test_the_specification_is_plain_json() -> None:
    text = json.dumps(SPECIFICATION.to_json())
    assert json.loads(text)["name"] == "Variants compared"


def test_wandb_workspaces_accepts_the_view() -> None:
    view = workspace_views.build_view(SPECIFICATION, "me", "demo")
    model = json.loads(view._to_model().model_dump_json(by_alias=True))
    text = json.dumps(model)
    assert [section.name for section in view.sections] == [s.name for s in SPECIFICATION.sections]
    assert "summary:inference/avg_latency_ms_per_sample" in text
    assert LIGHT[1] in text


def test_wandb_workspaces_accepts_the_report() -> None:
    report = workspace_views.build_report(SPECIFICATION, "me", "demo")
    grids = [block for block in report.blocks if type(block).__name__ == "PanelGrid"]
    assert len(grids) == len(SPECIFICATION.sections)
    assert grids[0].runsets[0].groupby == ["config.model_variant", "config.quantization_strategy"]
    assert grids[2].runsets[0].run_settings["full-0.001-0"].color == LIGHT[0]


def test_panels_name_config_keys_and_metrics_apart() -> None:
    _, reports = workspace_views.modules()
    panel = workspace.Panel("scatter", "t", (SCORE,), x="learning_rate", is_log_x=True)
    model = workspace_views.build_panel(panel, reports)._to_model()
    assert model.config.x_axis == "config:learning_rate.value"
    assert model.config.y_axis == "summary:final/validation_f1_score"
    with pytest.raises(ValueError, match="unknown panel kind 'pie'"):
        workspace_views.build_panel(workspace.Panel("pie", "t", ()), reports)  # type: ignore[arg-type]  # a mistake


def test_a_variant_outside_the_table_gets_a_colour_too() -> None:
    row = run("full", 1e-3, 0.5, quantization_method="gptq")
    assert workspace.colour_of(row) == LIGHT[5]
