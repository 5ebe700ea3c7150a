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


class Reader:
    """Reads one server. Errors come as TrackingError, with the server's words."""

    def __init__(self, access: ServerAccess) -> None:
        os.environ.update(access.environment({}))  # before wandb reads it
        self._api = client.open_api()

    def full_path(self, text: str) -> str:
        """ENTITY/PROJECT/NAME of what a person types."""
        return paths.full_path(text, str(self._api.default_entity or ""))

    def sweep_state(self, path: str) -> tuple[str, int | None]:
        """The sweep's state, and how many grid points it has (None without a finite grid)."""
        with _server_errors():
            sweep = self._api.sweep(path)
            expected = sweep.expected_run_count
            return str(sweep.state), int(expected) if expected else None

    def points_left(self, path: str) -> int | None:
        """Grid points that no run has finished yet; None without a finite grid."""
        expected = self.sweep_state(path)[1]
        if expected is None:
            return None
        over = sum(
            run.state in ("finished", "failed", "killed") for run in self.runs_of_sweep(path)
        )
        return max(expected - over, 0)

    def sweep_config(self, path: str) -> Mapping[str, object]:
        with _server_errors():
            config: Mapping[str, object] = self._api.sweep(path).config
            return config

    def runs_of_sweep(self, path: str) -> list[RunFacts]:
        with _server_errors():
            return [_facts(run) for run in self._api.sweep(path).runs]

    def runs_of_project(self, project: str) -> list[RunFacts]:
        """All runs of ENTITY/PROJECT; none when there is no such project yet."""
        try:
            with _server_errors():
                return [_facts(run) for run in self._api.runs(project)]
        except TrackingError as error:
            if "could not find" in str(error).lower():
                return []
            raise

    def run(self, path: str) -> RunFacts:
        """ENTITY/PROJECT/RUN."""
        with _server_errors():
            return _facts(self._api.run(path))


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
    except (client.wandb.Error, ValueError, OSError) as error:
        words = " ".join(str(error).split())[:300]
        raise TrackingError(
            f"the W&B server does not answer as needed: {words}; check the name, WANDB_BASE_URL "
            "and the login"
        ) from None
