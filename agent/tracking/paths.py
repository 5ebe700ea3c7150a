"""ENTITY/PROJECT/NAME: how runs, sweeps and artifacts are named, however a person types it."""

import os
import re

from agent.errors import TrackingError

_ADDRESS = re.compile(r"^https?://[^/]+/")


def full_path(text: str, default_entity: str) -> str:
    """ENTITY/PROJECT/NAME of what a person types: that, PROJECT/NAME, or a page's address.

    NAME alone belongs to WANDB_PROJECT. TrackingError when it is none of them.
    """
    words = _ADDRESS.sub("", text.strip()).strip("/").split("/")
    words = [word for word in words if word not in ("runs", "sweeps")]
    project = os.environ.get("WANDB_PROJECT", "")
    if len(words) == 1 and project:
        words = [project, *words]
    if len(words) == 2 and default_entity:
        words = [default_entity, *words]
    if len(words) != 3 or not all(words):
        raise TrackingError(f"{text!r}: write ENTITY/PROJECT/NAME, as W&B's addresses have it")
    return "/".join(words)


def full_project(path: str, default_entity: str) -> str:
    """ENTITY/PROJECT of what a person types: that, or PROJECT of the default entity.

    TrackingError when it is neither.
    """
    words = path.strip("/").split("/")
    if not all(words) or len(words) > 2:
        raise TrackingError(f"project {path!r}: write PROJECT or ENTITY/PROJECT")
    return "/".join(words) if len(words) == 2 else f"{default_entity}/{words[0]}"


def split_path(path: str) -> tuple[str, str, str]:
    """Entity, project and name of a full path. TrackingError when it has another form."""
    parts = path.split("/")
    if len(parts) != 3 or not all(parts):
        raise TrackingError(f"{path!r} must have the form ENTITY/PROJECT/NAME")
    return parts[0], parts[1], parts[2]


def project_of(path: str) -> str:
    """ENTITY/PROJECT of a run's or a sweep's full path."""
    entity, project, _ = split_path(path)
    return f"{entity}/{project}"


def split_project(project: str) -> tuple[str, str]:
    """Entity and name of a project; no entity for PROJECT alone."""
    entity, _, name = project.rpartition("/")
    return entity, name
