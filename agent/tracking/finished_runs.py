"""Finished training runs, read and completed afterwards: what the benchmark and the final test do.

Light on purpose (no torch), so that a command can look at runs before it starts a process that
loads a model.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.config.run_config import RunConfig
from agent.errors import StoreError, TrackingError, raising
from agent.results.outcome import outcome_of
from agent.tracking.client import wandb
from agent.tracking.paths import full_path, project_of, split_path


@dataclass(frozen=True)
class FinishedRun:
    """A training run that has ended. `summary` holds plain JSON values."""

    path: str  # entity/project/id
    name: str
    state: str
    tags: frozenset[str]
    config: RunConfig
    summary: Mapping[str, Any]
    handle: Any = field(repr=False, compare=False)  # the public API's run
    artifact: Any = field(default=None, repr=False, compare=False)  # its model, where it has one

    @property
    def id(self) -> str:
        return split_path(self.path)[2]

    @property
    def training_key(self) -> str:
        return str(self.summary.get("training/key", ""))

    @property
    def is_complete(self) -> bool:
        """Ran its whole budget: neither pruned nor diverged nor cut off."""
        return outcome_of(self.state, self.tags, self.summary).is_complete


# ---------------------------------------------------------------------- reading
def split_epoch(word: str) -> tuple[str, float | None]:
    """RUN or RUN@EPOCH, the evaluation point at that epoch. TrackingError for no number."""
    name, mark, epoch = word.partition("@")
    try:
        return name, float(epoch) if mark else None
    except ValueError:
        raise TrackingError(f"{word!r}: the epoch after @ is not a number") from None


def find(api: Any, text: str) -> FinishedRun:
    """The run that `text` names, or the run that made the model artifact it names (NAME:v0)."""
    path = full_path(text, str(api.default_entity or ""))
    with raising(TrackingError, f"{path} cannot be read"):
        if ":" in split_path(path)[2]:
            artifact = api.artifact(path)
            handle = artifact.logged_by()
            if artifact.type != "model" or handle is None:
                raise TrackingError(f"{path}: is not a model artifact that a run has made")
            handle = api.run("/".join(handle.path))  # with config and summary
        else:
            handle, artifact = api.run(path), None
    return _read(handle, artifact or _newest_model(handle))


def complete_runs(api: Any, sweep: str) -> list[str]:
    """Paths of a sweep's runs that finished and were not pruned, oldest first."""
    path = full_path(sweep, str(api.default_entity or ""))
    project, name = project_of(path), split_path(path)[2]
    with raising(TrackingError, f"sweep {path} cannot be read"):
        runs = list(api.runs(project, filters={"sweep": name}, order="+created_at", lazy=False))
    found = [
        f"{project}/{run.id}"
        for run in runs
        if outcome_of(str(run.state), run.tags or (), _plain_summary(run)).is_complete
    ]
    if not found:
        raise TrackingError(f"sweep {path}: none of its {len(runs)} runs has finished unpruned")
    return found


def _plain_summary(run: Any) -> dict[str, Any]:
    """The summary of a listed run; empty where the listing brought none."""
    return dict(getattr(getattr(run, "summary", None), "_json_dict", {}))


def _read(handle: Any, artifact: Any) -> FinishedRun:
    summary = dict(handle.summary._json_dict)
    path = "/".join(handle.path)
    if getattr(handle, "job_type", None) not in (None, "", "training"):
        raise TrackingError(f"{path}: is not a training run, but one of type {handle.job_type!r}")
    values = {k: v for k, v in dict(handle.config).items() if k in RunConfig.model_fields}
    return FinishedRun(
        path=path,
        name=str(handle.name or handle.id),
        state=str(handle.state),
        tags=frozenset(map(str, handle.tags or ())),
        config=RunConfig.parse(values, where=f"the config of run {path}", files=True),
        summary=summary,
        handle=handle,
        artifact=artifact,
    )


def _newest_model(handle: Any) -> Any:
    models = [artifact for artifact in handle.logged_artifacts() if artifact.type == "model"]
    return models[-1] if models else None


def download_adapter(run: FinishedRun, folder: Path) -> Path:
    """The PEFT folder of the run's model artifact, each file checked against its digest.

    StoreError when there is no artifact, or one of its files is not what was logged.
    """
    if run.artifact is None:
        raise StoreError(
            f"{run.path}: its adapter is not in the store {run.config.store} and the run has no "
            "model artifact; name the store with --store"
        )
    with raising(StoreError, f"{run.path}: its model artifact"):
        run.artifact.download(root=str(folder), path_prefix="adapter/", skip_cache=True)
        entries = run.artifact.manifest.entries
    wanted = {n: e.digest for n, e in entries.items() if n.startswith("adapter/")}
    bad = [name for name, digest in wanted.items() if _md5_of(folder / name) != digest]
    if bad or not wanted:
        raise StoreError(
            f"{run.path}: its model artifact is damaged or holds no adapter "
            f"({', '.join(bad) or 'no adapter/ in it'}); name the store with --store"
        )
    return folder / "adapter"


def _md5_of(file: Path) -> str | None:
    """The digest that W&B's manifests hold; None for a file that is not there."""
    try:
        return base64.b64encode(
            hashlib.md5(file.read_bytes(), usedforsecurity=False).digest()
        ).decode()
    except OSError:
        return None


# ---------------------------------------------------------------------- writing
def amend_summary(run: FinishedRun, values: Mapping[str, object]) -> None:
    """Put `values` into the finished run's summary; None takes a key out."""
    summary = run.handle.summary
    for name in [name for name, value in values.items() if value is None]:
        if name in summary._json_dict:
            del summary[name]
    summary.update({name: value for name, value in values.items() if value is not None})


def log_inference(
    run: FinishedRun, config: Mapping[str, object], values: Mapping[str, object]
) -> str:
    """A W&B run of its own for one measurement, which used the training run's model artifact.

    Opened when everything has been measured, so that wandb's own threads disturb nothing.
    Returns its path.
    """
    entity, project, _ = split_path(run.path)
    with wandb.init(
        entity=entity,
        project=project,
        job_type="inference",
        name=f"inference {run.name}",
        config={**run.config.model_dump(mode="json"), "training_run": run.path, **config},
        settings=wandb.Settings(console="off", x_disable_stats=True),
    ) as opened:
        if run.artifact is not None:
            opened.use_artifact(run.artifact.qualified_name)
        opened.summary.update({k: v for k, v in values.items() if v is not None})
        return f"{entity}/{project}/{opened.id}"


def complete_run(
    run: FinishedRun, values: Mapping[str, object], name: str, files: Sequence[Path]
) -> None:
    """Add `values` and a predictions artifact `name` of `files` to the training run itself.

    The run is resumed for a moment; its history, machine and console log stay as they are.
    """
    entity, project, run_id = split_path(run.path)
    quiet = wandb.Settings(
        console="off", x_disable_stats=True, x_disable_meta=True, disable_git=True, save_code=False
    )
    with wandb.init(
        entity=entity,
        project=project,
        id=run_id,
        resume="must",
        job_type="training",
        settings=quiet,
    ) as opened:
        artifact = wandb.Artifact(name, type="predictions")
        for file in files:
            artifact.add_file(str(file), name=file.name)
        opened.log_artifact(artifact)
        opened.summary.update({k: v for k, v in values.items() if v is not None})
