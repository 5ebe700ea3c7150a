"""The grid points a task has taken, on the shared file system, so that its next life knows them.

A claim is written when the task first sees a run and dropped when the run has ended. What is left
in the file when a task starts again was cut off: killed with its node, or at a limit without
notice.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from agent import files
from agent.cluster.processes import GridPointProcess
from agent.tracking.run_states import RunState

# What the agent tells the program about its grid point. Never the key: this goes into a file.
RUN_VARIABLES = (
    "WANDB_RUN_ID",
    "WANDB_SWEEP_ID",
    "WANDB_ENTITY",
    "WANDB_PROJECT",
    "WANDB_DIR",
    "WANDB_SWEEP_PARAM_PATH",
)
SILENT_S = 75.0  # a live run is heard every 30 s
ENDED = ("finished", "failed", "killed", "preempted", "preempting")


@dataclass(frozen=True)
class Claim:
    """One grid point, with all that is needed to run it again as the agent did."""

    run_id: str
    sweep: str  # ENTITY/PROJECT/SWEEP
    argv: tuple[str, ...]
    directory: str
    variables: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 1


def claim_of(process: GridPointProcess, sweep: str) -> Claim:
    """The claim behind a running process."""
    known = {n: process.environment[n] for n in RUN_VARIABLES if n in process.environment}
    return Claim(process.run_id, sweep, process.argv, process.directory, known)


def takes_back(
    claim: Claim,
    found: RunState | None,
    *,
    server_hands_out_crashed: bool,
    max_attempts: int,
    is_ours_alone: bool = False,
) -> bool:
    """True when this task has to run the grid point itself because no other will.

    Preempted runs are handed out by the server, before new points. A crashed run is handed out by
    the embedded server, never by W&B. One that still counts as running is taken back at once when
    `is_ours_alone`: the life that ran it is over, and no other task has claimed it since. Else
    only once it is silent: a fresh heartbeat means that it lives, as an orphan or elsewhere.
    """
    if found is None or found.state in ENDED or claim.attempts >= max_attempts:
        return False
    if found.state == "crashed":
        return not server_hands_out_crashed
    return is_ours_alone or found.silent_s >= SILENT_S


class ClaimFile:
    """The claims of one worker. Rewritten as a whole; a reader never sees half of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._claims = {claim.run_id: claim for claim in _read(path)}

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._claims

    def is_held_elsewhere(self, run_id: str) -> bool:
        """Whether another worker's file, in the same directory, claims the run as well."""
        others = (path for path in self.path.parent.glob("*.json") if path != self.path)
        return any(claim.run_id == run_id for path in others for claim in _read(path))

    def open_claims(self, sweep: str | None = None) -> list[Claim]:
        """The claims, of one sweep when it is given."""
        return [c for c in self._claims.values() if sweep is None or c.sweep == sweep]

    def add(self, claim: Claim) -> None:
        """Remember a claim; it is on disk when this returns, unless the disk is full."""
        self._claims[claim.run_id] = claim
        self._write()

    def drop(self, run_ids: Iterable[str]) -> None:
        """Forget claims that have ended or passed to another task."""
        gone = [run_id for run_id in run_ids if self._claims.pop(run_id, None) is not None]
        if gone:
            self._write()

    def _write(self) -> None:
        """A disk that is full ends no task: the file is behind until the next claim, and what it
        lacks is handed out by the server.
        """
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(self.path, [asdict(claim) for claim in self._claims.values()])


def _read(path: Path) -> list[Claim]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [Claim(**{**row, "argv": tuple(row["argv"])}) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return []  # nothing known is safe: the server hands the points out again
