"""Rows from outside this package: adapter methods, deployments and metrics of your own.

`SWEEP_AGENT_EXTENSIONS=my_dora,my_metric` names modules that are imported before a grid point is
read, by train.py and by `sweep-agent`. Importing one registers what it brings:

    agent.training.adapters.register         an adapter method
    agent.evaluation.deployments.register    a way to serve an adapter, with its row of the table
    agent.evaluation.validation.METRICS      a score over all predictions
"""

import importlib
import os

from agent.errors import ConfigError

VARIABLE = "SWEEP_AGENT_EXTENSIONS"


def load() -> None:
    """Import every named module. ConfigError names those that cannot be."""
    problems = []
    for name in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
        try:
            importlib.import_module(name)
        except ImportError as error:
            problems.append(f"{name}: {error}; is it on PYTHONPATH?")
    if problems:
        raise ConfigError(problems, where=VARIABLE)
