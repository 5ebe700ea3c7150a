"""How a value may be written: typed JSON, YAML's strings, or words of a command line.

Each type turns the spellings of one value into that value, and says what is wrong otherwise.
"""

import ast
import json
from typing import Annotated, Any

from pydantic import BeforeValidator


def _plain_number(value: object) -> object:
    """Accept `1e-4` as YAML 1.1 reads it (a string), refuse `on` and `yes` (booleans)."""
    if isinstance(value, bool):
        raise ValueError("is a boolean where a number is needed (YAML reads on/yes as true)")
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            raise ValueError("is not a number") from None
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return value


def _none_word(value: object) -> object:
    """The command line has no null: the words none and null (and nothing at all) mean it."""
    return (
        None if isinstance(value, str) and value.strip().lower() in ("", "none", "null") else value
    )


def _strategy_word(value: object) -> object:
    if value is None or (isinstance(value, str) and value.strip().lower() in ("none", "null")):
        return "None"
    return value


def _name_list(value: object) -> object:
    return [v.strip() for v in value.split(",") if v.strip()] if isinstance(value, str) else value


def _json_text(value: object) -> object:
    """An object as JSON, or as Python writes it: that is what `${args}` of wandb's agent gives."""
    if isinstance(value, str):
        for read in (json.loads, ast.literal_eval):
            try:
                return read(value)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
        raise ValueError('is not JSON; write it like {"n_startup_trials": 2}')
    return value


Float = Annotated[float, BeforeValidator(_plain_number)]
Int = Annotated[int, BeforeValidator(_plain_number)]
OptionalInt = Annotated[
    Annotated[int, BeforeValidator(_plain_number)] | None, BeforeValidator(_none_word)
]
OptionalStr = Annotated[str | None, BeforeValidator(_none_word)]
Strategy = Annotated[str, BeforeValidator(_strategy_word)]
Names = Annotated[tuple[str, ...], BeforeValidator(_name_list)]
Options = Annotated[dict[str, Any], BeforeValidator(_json_text)]
TaskLimits = Annotated[dict[str, Int], BeforeValidator(_json_text)]  # tokens by task
