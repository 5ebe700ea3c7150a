"""Values that clients send, read strictly: what gets past these functions can be stored."""

from typing import Any

from graphql import GraphQLError, GraphQLScalarType, GraphQLSchema

from agent.server.refusals import Refused

LARGEST = 2**63 - 1
MAX_NAME = 1024


def read_int64(value: Any) -> int:
    """A whole number that fits 64 bits; also as text, as some clients write it."""
    if isinstance(value, str) and value.lstrip("-").isascii() and value.lstrip("-").isdigit():
        value = int(value[:20])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST:
        raise GraphQLError(f"expected a whole number of 64 bits, got {str(value)[:40]!r}")
    return value


def read_text(value: Any) -> str:
    """Text; what it says is checked where it is used."""
    if not isinstance(value, str):
        raise GraphQLError(f"expected text (JSON within a string), got {type(value).__name__}")
    return value


_READERS = {
    "Int64": read_int64,
    "Duration": read_int64,
    "JSONString": read_text,
    "DateTime": read_text,
}


def make_strict(schema: GraphQLSchema) -> None:
    """Give the scalars of the schema their readers."""
    for name, reader in _READERS.items():
        scalar = schema.type_map[name]
        assert isinstance(scalar, GraphQLScalarType)
        # graphql-core means its methods to be replaced on the instance.
        scalar.parse_value = reader  # type: ignore[method-assign]
        scalar.coerce_input_value = reader


def whole_number(text: str) -> int | None:
    """The number that plain digits write, None for anything else or for one too large to store."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def check_file_name(name: str) -> str:
    """A relative name without steps upwards. Raises Refused."""
    parts = name.replace("\\", "/").split("/")
    is_plain = name and len(name) <= MAX_NAME and "\0" not in name and ".." not in parts
    if not is_plain or name.startswith(("/", "\\")):
        raise Refused(f"file name {name[:100]!r}: use a relative name without '..'")
    return name
