"""The sweeps of a run's project, as the server has them: which other grid points there are.

With `tracking` and `finished_runs` the only importers of wandb on the worker's side. A run needs
this twice: to know how many runs it competes with, and which trainings others will need. Nothing
depends on an answer: where the server cannot be asked, a run knows its own point only.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice

from agent.config import sweep_yaml
from agent.config.run_config import RunConfig
from agent.errors import ConfigError
from agent.tracking.client import wandb

MOST_SWEEPS = 50  # of a project, the newest first
MOST_POINTS = 10_000
_GIVEN_UP = frozenset({"canceled", "stopped", "failed", "crashed"})
_STARTED_NO_MORE = _GIVEN_UP | {"finished"}


class ProjectSweeps:
    """The sweep that this process runs a point of, and its siblings in the same project."""

    def __init__(self) -> None:
        names = [os.environ.get(f"WANDB_{part}", "") for part in ("ENTITY", "PROJECT", "SWEEP_ID")]
        is_online = os.environ.get("WANDB_MODE", "online") == "online"
        self._names = names if all(names) and is_online else None

    @cached_property
    def own(self) -> Mapping[str, object]:
        """The config of the run's sweep; empty outside a sweep."""
        if self._names is None:
            return {}
        try:
            config = wandb.Api().sweep("/".join(self._names)).config
        except (wandb.Error, ValueError, OSError):
            return {}
        return config if isinstance(config, Mapping) else {}

    def needed(self) -> list[RunConfig]:
        """The grid points that are still to be run: of the own sweep, then of its siblings."""
        others = [grid for state, grid in self._sibling_grids if state not in _STARTED_NO_MORE]
        return [config for grid in (self._own_grid, *others) for config in grid]

    def peers(self, config: RunConfig) -> int | None:
        """Grid points that compete with `config`, itself included, over all sweeps of the project;
        None when its own sweep has no grid to count."""
        stratum = config.stratum_key()
        if not any(other.stratum_key() == stratum for other in self._own_grid):
            return None
        others = [grid for state, grid in self._sibling_grids if state not in _GIVEN_UP]
        points = (point for grid in (self._own_grid, *others) for point in grid)
        return len({point.point_key() for point in points if point.stratum_key() == stratum})

    @cached_property
    def _own_grid(self) -> Sequence[RunConfig]:
        return grid_of(self.own)

    @cached_property
    def _sibling_grids(self) -> list[tuple[str, Sequence[RunConfig]]]:
        """State and grid of the project's other sweeps."""
        if self._names is None or not self.own:
            return []
        entity, project, own_id = self._names
        try:
            sweeps = islice(wandb.Api().project(project, entity).sweeps(), MOST_SWEEPS)
            found = [(str(s.state).lower(), s.config) for s in sweeps if s.id != own_id]
        except (wandb.Error, ValueError, OSError):
            return []
        return [(state, grid_of(config)) for state, config in found if isinstance(config, Mapping)]


def grid_of(sweep: Mapping[str, object]) -> Sequence[RunConfig]:
    """The valid points of a sweep's grid; none when it has no grid. Invalid ones end by themselves
    and compete with no run."""
    if sweep.get("method") != "grid":
        return []
    try:
        points = islice(sweep_yaml.grid_points(sweep), MOST_POINTS)
    except ConfigError:  # another user's sweep, which W&B took
        return []
    return [config for point in points if (config := RunConfig.violations(point)[1]) is not None]
