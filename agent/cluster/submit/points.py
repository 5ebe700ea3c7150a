"""An array that works through a list of grid points instead of asking a server for them."""

import dataclasses
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from agent.cluster.options import ArrayOptions
from agent.cluster.point_queue import PointList
from agent.cluster.submit.allocation import fitting_array
from agent.cluster.submit.array import jobs_of, send_all, tell, watching
from agent.cluster.submit.point_commands import make_claim
from agent.config import sweep_yaml
from agent.config.run_config import RunConfig
from agent.config.search_space import grid_size
from agent.config.sweep_config import read_all
from agent.errors import ConfigError


def submit_points(
    wanted: Sequence[tuple[str, dict[str, object], list[tuple[dict[str, object], str]]]],
    options: ArrayOptions,
) -> list[str]:
    """Write the list of points and submit an array that works through it; the job ids.

    `wanted` holds, per sweep, its path, its file and its points: values, and the run to continue.
    """
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    directory = Path(options.state_dir) / "points" / name
    directory.mkdir(parents=True)
    work_dir = Path(options.code_dir or options.project_dir)
    claims = [
        make_claim(path, sweep, values, run_id=run_id, directory=directory, work_dir=work_dir)
        for path, sweep, points in wanted
        for values, run_id in points
    ]
    PointList.create(directory, claims)
    array, said = fitting_array(options, len(claims))
    sent = dataclasses.replace(options, points=str(directory), array=array)
    arrays = send_all(sent, [])
    tell([*([f"  array  {said}"] if said else []), *watching(arrays)])
    return jobs_of(arrays)


def points_to_run(sweep: Mapping[str, object]) -> int | None:
    """How many runs a new sweep will have: its grid, its run_cap, the smaller of both; None when
    it has neither.
    """
    config, _ = read_all(sweep)
    counts = [] if config.run_cap is None else [config.run_cap]
    if config.method == "grid":
        counts.append(grid_size(config.space))
    return min(counts, default=None)


def check_ends(sweeps: Mapping[Path, Mapping[str, object]]) -> None:
    """ConfigError for each search that would hold its tasks, requeued at every time limit, until
    somebody stops it.
    """
    problems = [
        f"{path}: a {sweep.get('method')} search without run_cap never ends; write into it how "
        "many runs it is worth, such as run_cap: 24, or submit with --endless and end it by "
        "`wandb sweep --stop SWEEP`"
        for path, sweep in sweeps.items()
        if points_to_run(sweep) is None
    ]
    if problems:
        raise ConfigError(problems, where="the submission (nothing was created)")


def check_lists(given: Iterable[str], sweeps: Mapping[Path, Mapping[str, object]]) -> None:
    """ConfigError for sweeps whose points cannot be listed, as tasks without a server need them."""
    problems = [f"{sweep}: give its YAML instead, offline tasks need its grid" for sweep in given]
    problems += [
        f"{path}: method = {sweep.get('method')!r}: without a server only a grid can run"
        for path, sweep in sweeps.items()
        if sweep.get("method") != "grid"
    ]
    if problems:
        raise ConfigError(problems, where="the submission (nothing was created)")


def points_of(sweep: dict[str, object], where: str) -> list[tuple[dict[str, object], RunConfig]]:
    """Every grid point as the file gives it, and resolved. ConfigError without a finite grid."""
    if sweep.get("method") != "grid":
        raise ConfigError(
            [
                f"method = {sweep.get('method')!r}: only a grid has points that can be listed; "
                "`sweep-agent submit ENTITY/PROJECT/SWEEP` goes on with a search"
            ],
            where=where,
        )
    values = list(sweep_yaml.grid_points(sweep))
    return list(zip(values, sweep_yaml.configs(sweep, where=where), strict=True))
