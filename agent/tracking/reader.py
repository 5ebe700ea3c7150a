"""Runs and sweeps as the W&B server has them, as plain values. The login node's reader of wandb."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from agent.errors import TrackingError
from agent.results.outcome import Outcome, outcome_of
from agent.tracking import client, paths
from agent.tracking.endpoint import ServerAccess


@dataclass(frozen=True)
class RunFacts:
    """One run. `sweep` is the short id, empty for a run outside sweeps."""

    run_id: str
    name: str
    state: str
    sweep: str
    config: Mapping[str, object] = field(default_factory=dict)
    summary: Mapping[str, object] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        return outcome_of(self.state, self.tags, self.summary)

    @property
    def is_pruned(self) -> bool:
        return self.outcome.is_pruned


@dataclass(frozen=True)
class SweepFacts:
    """One sweep with its runs."""

    state: str
    expected: int | None  # grid points, or the run_cap; None for a sweep without an end
    method: str
    has_scheduler: bool  # its points come from a process of the user's, `wandb sweep-scheduler`
    runs: list[RunFacts]


class Reader:
    """Reads one server, each time anew: the client by itself answers a second time from what it
    has read before. Errors come as TrackingError, with the server's words.
    """

    def __init__(self, access: ServerAccess) -> None:
        os.environ.update(access.environment({}))  # before wandb reads it
        self._api = client.open_api()
        self._sweeps_read: set[str] = set()
        self.server = os.environ.get("WANDB_BASE_URL") or "W&B's cloud"

    def full_path(self, text: str) -> str:
        """ENTITY/PROJECT/NAME of what a person types."""
        return paths.full_path(text, str(self._api.default_entity or ""))

    def sweep(self, path: str) -> SweepFacts:
        """The sweep as it is now."""
        with _server_errors():
            sweep = self._api.sweep(path)
            if path in self._sweeps_read:
                sweep.load(force=True)
            self._sweeps_read.add(path)
            expected = sweep.expected_run_count
            return SweepFacts(
                str(sweep.state),
                int(expected) if expected else None,
                str(sweep.config.get("method", "")),
                bool(sweep.config.get("scheduler")),
                [_facts(run) for run in sweep.runs],
            )

    def find_sweep(self, path: str) -> SweepFacts | None:
        """The same; None when the server has no such sweep."""
        try:
            return self.sweep(path)
        except TrackingError as error:
            if _is_unknown(error):
                return None
            raise

    def points_left(self, path: str) -> int | None:
        """Grid points that no run has finished yet; None for a sweep without an end."""
        sweep = self.sweep(path)
        if sweep.expected is None:
            return None
        over = sum(run.state in ("finished", "failed", "killed") for run in sweep.runs)
        return max(sweep.expected - over, 0)

    def runs_of_project(self, project: str) -> list[RunFacts]:
        """All runs of ENTITY/PROJECT; none when there is no such project yet."""
        self._api.flush()
        try:
            with _server_errors():
                return [_facts(run) for run in self._api.runs(project)]
        except TrackingError as error:
            if _is_unknown(error):
                return []
            raise

    def run(self, path: str) -> RunFacts:
        """ENTITY/PROJECT/RUN."""
        self._api.flush()
        with _server_errors():
            return _facts(self._api.run(path))


def _is_unknown(error: TrackingError) -> bool:
    return "could not find" in str(error).lower()


def _facts(run: Any) -> RunFacts:
    if hasattr(run, "load_full_data"):  # listings are read without config and summary
        run.load_full_data()
    sweep = getattr(run, "sweep_name", None) or run._attrs.get("sweepName") or ""
    summary = run.summary
    return RunFacts(
        run_id=run.id,
        name=run.name,
        state=run.state,
        sweep=sweep,
        config=dict(run.config),
        summary={key: summary[key] for key in summary.keys()},  # noqa: SIM118  # no mapping
        tags=tuple(run.tags or ()),
    )


@contextmanager
def _server_errors() -> Iterator[None]:
    """wandb's errors as one line for people."""
    try:
        yield
    except Exception as error:  # the client raises many kinds, some of them bare
        words = " ".join(str(error).split())[:300]
        raise TrackingError(
            f"the W&B server does not answer as needed: {words}; check the name, WANDB_BASE_URL "
            "and the login"
        ) from None
