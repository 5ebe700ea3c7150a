"""The wandb client, and the names of things on a W&B server.

Every module that needs the client takes it from here: `from agent.tracking.client import wandb`.
"""

import os
import re
from typing import Any

# The client reports its own errors to the internet unless this is set before its import.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

from agent.errors import ClusterError, ReportError, TrackingError, first_line

__all__ = ["full_path", "full_project", "open_api", "split_sweep", "wandb"]

# What an agent or a training tells its own children: none of it is about the run opened here.
_OF_ANOTHER_RUN = (
    "CONFIG_PATHS",
    "JOB_TYPE",
    "NAME",
    "NOTES",
    "RESUME",
    "RUN_GROUP",
    "RUN_ID",
    "SWEEP_ID",
    "SWEEP_PARAM_PATH",
    "TAGS",
)
_ADDRESS = re.compile(r"^https?://[^/]+/")


def open_api() -> Any:
    """The public API. TrackingError in one line when there is no key or no server."""
    for name in _OF_ANOTHER_RUN:
        os.environ.pop(f"WANDB_{name}", None)
    os.environ.setdefault("WANDB_SILENT", "true")  # a line for every download
    try:
        return wandb.Api()
    except Exception as error:  # the client raises many kinds, some of them bare
        raise TrackingError(
            f"W&B cannot be opened ({first_line(error)}); set WANDB_BASE_URL and "
            "WANDB_API_KEY, or run `wandb login`"
        ) from error


def full_path(text: str, default_entity: str) -> str:
    """ENTITY/PROJECT/NAME of what a person types: that, PROJECT/NAME, or a page's address.

    TrackingError when it is none of them.
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


def full_project(path: str, api: Any) -> str:
    """ENTITY/PROJECT of what a person types: that, or PROJECT of the default entity."""
    words = path.strip("/").split("/")
    if not all(words) or len(words) > 2:
        raise ReportError(f"project {path!r}: write PROJECT or ENTITY/PROJECT")
    return "/".join(words) if len(words) == 2 else f"{api.default_entity}/{words[0]}"


def split_sweep(path: str) -> tuple[str, str, str]:
    """Entity, project and short id. ClusterError when it has another form."""
    parts = path.split("/")
    if len(parts) != 3 or not all(parts):
        raise ClusterError(f"{path!r} must have the form ENTITY/PROJECT/SWEEP")
    return parts[0], parts[1], parts[2]
