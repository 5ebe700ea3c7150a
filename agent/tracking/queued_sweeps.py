"""The sweeps that confirm a choice, queued on W&B or the embedded server; none is queued twice."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.errors import TrackingError, first_line, raising
from agent.results.confirmation import PlannedPoint, PlannedSweep, sweeps_of
from agent.tracking.paths import full_project, split_project

WAITING = ("pending", "running", "paused")  # states of a sweep whose points will still be run


@dataclass(frozen=True)
class Queued:
    """A sweep that waits for agents. `path` is what `wandb agent` takes; `is_new` when it was
    created just now."""

    path: str
    name: str
    seeds: tuple[int, ...]
    is_new: bool


def queue(points: Sequence[PlannedPoint], api: Any) -> tuple[Queued, ...]:
    """Create a grid sweep for every setting of which seeds are missing, and name those there are.

    A point that stands in a sweep which still runs, or waits to, is not queued again.
    TrackingError when W&B refuses.
    """
    found: dict[str, Queued] = {}
    new: list[PlannedPoint] = []
    by_project: dict[str, list[PlannedPoint]] = {}
    for point in points:
        project = full_project(point.like.project, api.default_entity)
        by_project.setdefault(project, []).append(point)
    for project, wanted in by_project.items():
        waiting = _waiting_points(project, api)
        found |= {sweep.path: sweep for p in wanted if (sweep := waiting.get(p.key)) is not None}
        new += [point for point in wanted if point.key not in waiting]
    created = [_create(sweep, api) for sweep in sweeps_of(new)]
    return (*found.values(), *created)


def _waiting_points(project: str, api: Any) -> dict[str, Queued]:
    """Point keys of every grid sweep of the project that is still worked on."""
    from agent.tracking.project import grid_of

    entity, name = split_project(project)
    points: dict[str, Queued] = {}
    try:
        for sweep in api.project(name, entity).sweeps():
            if str(sweep.state).lower() not in WAITING or not isinstance(sweep.config, Mapping):
                continue
            configs = grid_of(sweep.config)
            seeds = tuple(sorted({config.seed for config in configs}))
            title = str(sweep.config.get("name") or sweep.id)
            queued = Queued(f"{project}/{sweep.id}", title, seeds, is_new=False)
            points |= dict.fromkeys((config.point_key() for config in configs), queued)
    except Exception as error:  # the client raises many kinds
        raise TrackingError(
            f"the sweeps of {project} cannot be read: {first_line(error)}"
        ) from error
    return points


def _create(planned: PlannedSweep, api: Any) -> Queued:
    import wandb

    project = full_project(planned.like.project, api.default_entity)
    entity, name = split_project(project)
    config = {**planned.config, **_started_like(planned, project, api)}
    with raising(TrackingError, f"W&B makes no sweep {planned.name!r} in {project}"):
        sweep_id = wandb.sweep(config, entity=entity, project=name)
    return Queued(f"{project}/{sweep_id}", planned.name, _seeds(planned), is_new=True)


def _started_like(planned: PlannedSweep, project: str, api: Any) -> dict[str, object]:
    """Program and command of the sweep that the chosen run came from, where it has them."""
    with raising(TrackingError, f"run {planned.like.run_id} of {project} cannot be read"):
        sweep = api.run(f"{project}/{planned.like.run_id}").sweep
        config = sweep.config if sweep is not None else {}
    return {name: config[name] for name in ("program", "command") if config.get(name)}


def _seeds(planned: PlannedSweep) -> tuple[int, ...]:
    parameters = planned.config["parameters"]
    assert isinstance(parameters, dict)
    return tuple(parameters["seed"]["values"])


def as_yaml(sweeps: Iterable[PlannedSweep]) -> str:
    """The sweeps as YAML documents: each is what `wandb sweep FILE` reads."""
    import yaml

    documents = [yaml.safe_dump(s.config, sort_keys=False, allow_unicode=True) for s in sweeps]
    return "---\n".join(documents)
