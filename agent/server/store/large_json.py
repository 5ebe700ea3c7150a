"""JSON that may be long: read and written without stopping the other threads.

The C parser holds the interpreter from the first byte to the last, which for tens of megabytes is
a second in which no other request is served. Python's own takes longer and lets others in between.
"""

import json
from collections.abc import Iterator

# Parts of the pure Python parser, which the stubs leave out.
from json.decoder import JSONArray, JSONObject, scanstring  # type: ignore[attr-defined]
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from types import SimpleNamespace
from typing import Any

SHORT = 256 * 1024


_CONSTANTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def loads(text: str) -> Any:
    """As json.loads. Raises ValueError or RecursionError."""
    if len(text) < SHORT:
        return json.loads(text)
    scan = py_make_scanner(
        SimpleNamespace(
            parse_object=JSONObject,
            parse_array=JSONArray,
            parse_string=scanstring,
            parse_float=float,
            parse_int=int,
            parse_constant=_CONSTANTS.__getitem__,
            strict=True,
            object_hook=None,
            object_pairs_hook=None,
            memo={},
        )
    )
    stripped = text.strip(" \t\n\r")
    try:
        value, end = scan(stripped, 0)
    except StopIteration:
        raise ValueError("no JSON value") from None
    if end != len(stripped):
        raise ValueError("more text after the JSON value")
    return value


def dumps(value: Any, length: int) -> str:
    """As json.dumps without blanks; `length` says about how long the text will be."""
    if length < SHORT:
        return json.dumps(value, separators=(",", ":"))
    return "".join(_pieces(value))


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        sign = "{"
        for key, item in value.items():
            yield f"{sign}{json.dumps(key)}:"
            yield from _pieces(item)
            sign = ","
        yield "}"
    elif isinstance(value, list) and value:
        sign = "["
        for item in value:
            yield sign
            yield from _pieces(item)
            sign = ","
        yield "]"
    else:
        yield json.dumps(value)
