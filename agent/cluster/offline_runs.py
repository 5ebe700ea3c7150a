"""What tasks without a server have left on shared storage, until `wandb sync` has sent it."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.cluster.claims import Claim
from agent.cluster.point_queue import PointList, Taking
from agent.errors import ClusterError
from agent.tracking.paths import split_path
from agent.tracking.reader import RunFacts

NOT_SYNCED = "not synced"  # the state of a run that ended without a server


@dataclass(frozen=True)
class OfflineRun:
    """A run that no server has heard of, or not to its end."""

    sweep: str  # ENTITY/PROJECT/SWEEP
    facts: RunFacts


def offline_runs(state_dir: Path, is_alive: Callable[[str], bool]) -> list[OfflineRun]:
    """Those that are not synced; `is_alive` of a task, such as 12_3."""
    directories: dict[str, list[Path]] = defaultdict(list)
    for path in (state_dir / "wandb" / "wandb").glob("offline-run-*"):
        directories[path.name.rpartition("-")[2]].append(path)
    if not directories:
        return []
    found = []
    for directory in sorted((state_dir / "points").glob("*/")):
        points = PointList(directory)
        try:
            claims = points.points()
        except ClusterError:
            continue
        for claim in claims:
            # The client leaves a file beside each run that it has sent.
            if any(not list(path.glob("*.synced")) for path in directories.get(claim.run_id, ())):
                state = _state(points.taking_of(claim.run_id), is_alive)
                found.append(OfflineRun(claim.sweep, _facts(claim, directory, state)))
    return found


def with_offline(runs: Sequence[RunFacts], offline: Iterable[OfflineRun]) -> list[RunFacts]:
    """The server's runs, and those that only this disk has."""
    known = {run.run_id for run in runs}
    return [*runs, *(each.facts for each in offline if each.facts.run_id not in known)]


def _state(taking: Taking | None, is_alive: Callable[[str], bool]) -> str:
    """As W&B would call it."""
    if taking is None:
        return "preempted"
    if taking.state == "running":
        task = taking.task.partition("-")[0]  # without the number of its worker
        return "running" if is_alive(task) else "crashed"
    return NOT_SYNCED if taking.state == "done" else taking.state


def _facts(claim: Claim, directory: Path, state: str) -> RunFacts:
    try:
        values = json.loads((directory / f"{claim.run_id}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = {}
    return RunFacts(claim.run_id, claim.run_id, state, split_path(claim.sweep)[2], values)
