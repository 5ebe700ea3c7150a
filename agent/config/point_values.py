"""A run's config as `RunConfig` reads it, whichever way its values were written.

W&B keeps a sweep's value as its YAML had it: `2e-4` is text to YAML 1.1, `16` may be quoted and
`none` means None. A table of runs needs one form, or equal settings stand there as different ones.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from agent.config.run_config import RunConfig


def as_read(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the values of `RunConfig`'s keys in their own types, as plain JSON.

    What `RunConfig` would refuse, and every other key, stays as it is.
    """
    return {key: _read(key, value) for key, value in config.items()}


def _read(key: str, value: Any) -> Any:
    if key not in RunConfig.model_fields:
        return value
    reader = _reader(key)
    try:
        found = reader.dump_python(reader.validate_python(value), mode="json")
    except ValidationError:
        return value
    return value if found == value else found  # 1 stays 1 where 1.0 is meant


@cache
def _reader(key: str) -> TypeAdapter[Any]:
    field = RunConfig.model_fields[key]
    kind: Any = field.annotation
    if field.metadata:
        kind = Annotated[(kind, *field.metadata)]
    return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False))
