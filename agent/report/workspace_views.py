"""The specification as wandb-workspaces objects: the only module that imports that package."""

import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from agent.errors import ReportError, TrackingError, first_line
from agent.report.workspace import CELL_KEYS, Panel, Section, Workspace
from agent.tracking.paths import split_project

CONFIG_KEYS = (*CELL_KEYS, "learning_rate", "seed")


def modules() -> tuple[ModuleType, ModuleType]:
    """wandb_workspaces.workspaces and .reports.v2; ReportError when the package is missing."""
    try:
        with warnings.catch_warnings():  # the package still uses pydantic's first-generation names
            warnings.simplefilter("ignore", DeprecationWarning)
            import wandb_workspaces.reports.v2 as reports
            import wandb_workspaces.workspaces as workspaces
    except ImportError as error:
        raise ReportError(
            f"wandb-workspaces cannot be imported ({error}); pip install wandb-workspaces==0.4.13"
        ) from None
    return workspaces, reports


def save(specification: Workspace, project: str) -> tuple[tuple[str, str], ...]:
    """Save view and Report on W&B; returns what and where. TrackingError when W&B refuses."""
    entity, name = split_project(project)
    saved = []
    try:
        if not entity:
            from agent.tracking.client import open_api

            entity = str(open_api().default_entity)
        for what, built in (
            ("view", build_view(specification, entity, name)),
            ("report", build_report(specification, entity, name)),
        ):
            built.save()
            saved.append((what, str(built.url)))
    except (ReportError, TrackingError):
        raise
    except Exception as error:
        done = f" (saved before that: {', '.join(what for what, _ in saved)})" if saved else ""
        reason = first_line(error).rstrip(".")
        raise TrackingError(
            f"W&B refused the dashboard of {entity}/{name}: {reason}{done}. Saved "
            "views and Reports need W&B itself; the embedded server has its own pages"
        ) from error
    return tuple(saved)


def build_view(specification: Workspace, entity: str, project: str) -> Any:
    """The saved view. Nothing is sent."""
    ws, wr = modules()
    colours = {run: ws.RunSettings(color=colour) for run, colour in specification.run_colours}
    return ws.Workspace(
        entity=entity,
        project=project,
        name=specification.name,
        sections=[
            ws.Section(
                name=section.name,
                panels=[build_panel(panel, wr) for panel in section.panels],
                is_open=True,
            )
            for section in specification.sections
        ],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=100),
        runset_settings=ws.RunsetSettings(
            order=[ws.Ordering(item=ws.Summary(specification.order_by), ascending=False)],
            pinned_columns=list(specification.pinned_columns),
            run_settings=colours,
        ),
    )


def build_report(specification: Workspace, entity: str, project: str) -> Any:
    """The Report: the view's sections with a sentence each. Nothing is sent."""
    _, wr = modules()
    blocks: list[Any] = [wr.TableOfContents()]
    for section in specification.sections:
        blocks += [wr.H2(text=section.name), wr.P(text=section.text)]
        blocks.append(
            wr.PanelGrid(
                runsets=_runsets(section, specification, entity, project, wr),
                panels=[build_panel(panel, wr) for panel in section.panels],
            )
        )
    return wr.Report(
        entity=entity,
        project=project,
        title=specification.name,
        description="Quality and cost of the variants, each at its own best learning rate.",
        blocks=blocks,
        width="fluid",
    )


def _runsets(
    section: Section, specification: Workspace, entity: str, project: str, wr: ModuleType
) -> Sequence[Any]:
    grouped = [f"config.{key}" for key in CELL_KEYS] if section.is_grouped else []
    colours = {run: wr.RunSettings(color=colour) for run, colour in specification.run_colours}
    return [
        wr.Runset(
            entity=entity,
            project=project,
            name="by variant" if grouped else "runs",
            groupby=grouped,
            run_settings={} if grouped else colours,
        )
    ]


def build_panel(panel: Panel, wr: ModuleType) -> Any:
    """One panel; an unknown kind is a mistake in the specification."""
    if panel.kind == "line":
        return wr.LinePlot(title=panel.title, x=panel.x, y=list(panel.y), max_runs_to_show=100)
    if panel.kind == "scatter":
        return wr.ScatterPlot(
            title=panel.title,
            x=_axis(panel.x, wr),
            y=_axis(panel.y[0], wr),
            log_x=panel.is_log_x or None,
        )
    if panel.kind == "bar":
        return wr.BarPlot(
            title=panel.title,
            metrics=list(panel.y),
            groupby=wr.Config(panel.group_by),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
        )
    if panel.kind == "importance":
        return wr.ParameterImportancePlot(with_respect_to=panel.y[0])
    if panel.kind == "parallel":
        columns = [
            wr.ParallelCoordinatesPlotColumn(metric=_axis(key, wr), log=key == "learning_rate")
            for key in panel.y
        ]
        return wr.ParallelCoordinatesPlot(title=panel.title, columns=columns)
    raise ValueError(f"unknown panel kind {panel.kind!r}")


def _axis(key: str, wr: ModuleType) -> Any:
    """A config key or a summary metric."""
    return wr.Config(key) if key in CONFIG_KEYS else wr.SummaryMetric(key)
