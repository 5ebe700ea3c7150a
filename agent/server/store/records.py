"""What the store holds, as typed rows. Everything that reads the store gets these."""

import json
import sqlite3
from collections.abc import Hashable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from typing import Any, Generic, Self, TypeVar, cast

from agent.server.store.sampling import MAX_KEYS, read_object

ENDED_STATES = frozenset({"finished", "failed", "crashed", "killed", "preempted"})


@cache
def _columns(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


class Record:
    """A dataclass whose fields are the columns of one table."""

    __slots__ = ()

    @classmethod
    def of(cls, row: sqlite3.Row) -> Self:
        return cls(**{name: row[name] for name in _columns(cast(Hashable, cls))})

    @classmethod
    def maybe(cls, row: sqlite3.Row | None) -> Self | None:
        return None if row is None else cls.of(row)


@dataclass(frozen=True, slots=True)
class Project(Record):
    id: int
    entity: str
    name: str
    description: str | None
    access: str | None
    views: str | None
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class Sweep(Record):
    id: int
    project_id: int
    name: str
    display_name: str | None
    description: str | None
    config: str  # YAML, as the client sent it
    state: str  # PENDING, RUNNING, PAUSED, FINISHED or CANCELED
    controller: str | None
    scheduler: str | None
    prior_runs_filters: str | None
    next_index: int
    exhausted: int
    created_at: float
    updated_at: float
    heartbeat_at: float | None


@dataclass(frozen=True, slots=True)
class Agent(Record):
    id: int
    sweep_id: int
    name: str
    host: str
    state: str
    created_at: float
    heartbeat_at: float


@dataclass(frozen=True, slots=True)
class Point(Record):
    """A grid point (or proposal) of a sweep; its run id stays the same over all attempts."""

    id: int
    sweep_id: int
    run_name: str
    config: str  # JSON: name -> value
    display_name: str | None
    status: str  # open, claimed or done
    attempts: int
    preemptions: int
    agent_id: int | None
    claimed_at: float | None
    seen_at: float | None  # when the agent first reported the run as running
    gone_at: float | None  # since when the agent no longer reports it
    lease_until: float | None


@dataclass(frozen=True, slots=True)
class Run(Record):
    id: int
    project_id: int
    name: str
    sweep_id: int | None
    agent_id: int | None
    state: str  # pending, running or one of ENDED_STATES
    display_name: str
    description: str | None
    notes: str | None
    group_name: str | None
    job_type: str | None
    commit_hash: str | None
    host: str | None
    program: str | None
    repo: str | None
    config: str  # JSON: name -> {"value": …}
    summary: str  # JSON
    system_metrics: str
    tags: str  # JSON list
    exit_code: int | None
    stop_requested: str | None  # who asked: "person" or "early_terminate"
    preempting: int
    initialised: int  # wandb.init has arrived for the present attempt or an earlier one
    history_lines: int
    event_lines: int
    log_lines: int
    revision: int
    created_at: float
    updated_at: float
    heartbeat_at: float
    finished_at: float | None

    @property
    def is_over(self) -> bool:
        return self.state in ENDED_STATES

    def config_values(self) -> dict[str, Any]:
        """The config as the user wrote it, without the client's wrapping."""
        return unwrapped(self.config)

    def summary_values(self) -> dict[str, Any]:
        """The summary, of one with very many keys the first MAX_KEYS."""
        return read_object(self.summary, MAX_KEYS)

    def tag_list(self) -> list[str]:
        tags: list[str] = json.loads(self.tags)
        return tags


@dataclass(frozen=True, slots=True)
class RunFile(Record):
    id: int
    run_id: int
    name: str
    size: int
    md5: str  # base64, as the client computes it
    blob: str
    mimetype: str | None
    updated_at: float


@dataclass(frozen=True, slots=True)
class ArtifactType(Record):
    id: int
    project_id: int
    name: str
    description: str | None
    created_at: float


@dataclass(frozen=True, slots=True)
class Collection(Record):
    id: int
    project_id: int
    type_id: int
    kind: str  # SEQUENCE or PORTFOLIO
    name: str
    description: str | None
    client_id: str | None
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class Artifact(Record):
    id: int
    sequence_id: int
    version_index: int | None  # None until it is committed
    state: str  # PENDING, COMMITTED or DELETED
    digest: str
    digest_algorithm: str | None
    client_id: str | None
    description: str | None
    metadata: str | None
    labels: str | None
    history_step: int | None
    ttl_seconds: int | None
    size: int
    file_count: int
    run_id: int | None
    pending_aliases: str  # JSON list, given at creation and set at commit
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class Membership(Record):
    id: int
    collection_id: int
    artifact_id: int
    version_index: int
    created_at: float


@dataclass(frozen=True, slots=True)
class Alias(Record):
    id: int
    collection_id: int
    artifact_id: int
    alias: str


@dataclass(frozen=True, slots=True)
class Manifest(Record):
    id: int
    artifact_id: int
    name: str
    kind: str  # FULL, INCREMENTAL or PATCH
    digest: str
    blob: str | None
    size: int
    base_id: int | None  # of an incremental one: the version that it changes


@dataclass(frozen=True, slots=True)
class ArtifactFile(Record):
    id: int
    artifact_id: int
    name: str
    md5: str
    size: int
    blob: str | None
    reference: str | None


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list, with the cursor after its last item (None at the end)."""

    items: list[T]
    total: int
    offset: int

    @property
    def end_cursor(self) -> str | None:
        return str(self.offset + len(self.items)) if self.items else None

    @property
    def has_next_page(self) -> bool:
        return self.offset + len(self.items) < self.total


def iso_time(epoch_s: float | None) -> str | None:
    """A moment as the client writes and reads it."""
    if epoch_s is None:
        return None
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unwrapped(config: str) -> dict[str, Any]:
    """The values of a stored config (name -> {"value": …}), without what the client adds."""
    return {
        key: entry["value"] if isinstance(entry, dict) and "value" in entry else entry
        for key, entry in read_object(config).items()
        if key != "_wandb"
    }
