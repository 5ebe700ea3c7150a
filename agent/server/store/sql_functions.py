"""Functions of this server that its SQL calls: patterns, numbers, the names of points."""

import json
import sqlite3

from agent.config import sweep_config
from agent.config.objective import Goal, number_of, summary_number
from agent.config.values import digest_of, read_number
from agent.errors import ConfigError
from agent.server.store.filtering.patterns import is_match
from agent.server.store.records import unwrapped


def add_functions(connection: sqlite3.Connection) -> None:
    """Make them known to a connection."""
    for name, count, function in (
        ("REGEXP", 2, is_match),
        ("as_number", 2, as_number),
        ("plain_number", 1, plain_number),
        ("point_digest", 1, point_digest),
        ("prior_digest", 2, prior_digest),
    ):
        connection.create_function(name, count, function, deterministic=True)


def as_number(value: object, goal: Goal) -> float | None:
    """The finite number that `json_extract` found, or the best one of what `define_metric` keeps of
    a metric. NULL for text, which NaN and infinities are stored as."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            return summary_number(json.loads(value), goal)
        except (ValueError, RecursionError):
            return None
    return plain_number(value)


def plain_number(value: object) -> float | None:
    """The finite number that `json_extract` found; also text such as 2e-4, which is how a sweep's
    YAML hands such a number on."""
    return number_of(read_number(value))


def point_digest(config: str) -> str:
    """The name of a stored point; what cannot be read has the name of no point."""
    try:
        return digest_of(json.loads(config))
    except (ValueError, RecursionError, AttributeError):
        return ""


def prior_digest(run_config: str | None, sweep_text: str) -> str:
    """The name of the point of a sweep that a run's config holds."""
    try:
        sweep = sweep_config.parse_accepted(sweep_text)
        flat = sweep.flat_point(unwrapped(run_config or "{}"))
    except (ConfigError, ValueError, RecursionError, AttributeError):
        return ""
    return digest_of(sweep.nested_point(flat))
