"""The wandb client.

Every module that needs the client takes it from here: `from agent.tracking.client import wandb`.
"""

import contextlib
import os
import time
from typing import Any

# The client reports its own errors to the internet unless this is set before its import.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

from agent.errors import TrackingError, first_line

__all__ = ["open_api", "wandb"]

# Whether a value is a data frame is then read from its type's name, without importing pandas, which
# takes a fifth of a second of every run. (Absent: a release of the client that does not ask.)
if hasattr(wandb.util, "pd_available"):
    wandb.util.pd_available = False

# The client looks every 0.2 s whether the process that it has started can be reached, which it can
# after a few hundredths. (Absent: a release that waits for it in another way.)
with contextlib.suppress(ImportError):
    from wandb.sdk.lib.service import service_port_file

    def _look_again_soon(seconds: float) -> None:
        time.sleep(min(seconds, 0.01))

    if hasattr(service_port_file, "_SLEEP"):
        service_port_file._SLEEP = _look_again_soon  # type: ignore[assignment]  # a builtin to mypy

# What an agent or a training passes to its own children: none of it is about the run opened here.
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
