"""What wandb's client does late in every run, done once in a process that is forked for each."""

import functools
import importlib
from contextlib import suppress

from agent.tracking.client import wandb

# A release that has no such module does without.
_IMPORTED_LATE = (
    "wandb.apis._generated.get_sweeps",
    "wandb.sdk.artifacts._generated.artifact_type",
    "wandb.sdk.artifacts._internal_artifact",
    "wandb.sdk.launch.inputs.internal",  # takes seconds beside torch's modules
)


def prepare() -> None:
    """To be called when everything else has been imported."""
    for name in _IMPORTED_LATE:
        with suppress(ImportError):
            importlib.import_module(name)
    _make_sweep_listing()
    _read_packages_once()


@functools.cache  # holds it: its maker only remembers what is in use
def _make_sweep_listing() -> object:
    """The model of the answers that list sweeps: it is made when it is first asked for, by
    searching every imported module.
    """
    with suppress(ImportError, AttributeError, TypeError):
        from wandb._pydantic import Connection
        from wandb.apis._generated import SweepFragment

        return Connection[SweepFragment]
    return None


def _read_packages_once() -> None:
    """Every run notes the installed packages: those that this process has imported from, and not
    the metadata files of all of them again.
    """
    packages = list(wandb.util.working_set())
    wandb.util.working_set = lambda: packages
