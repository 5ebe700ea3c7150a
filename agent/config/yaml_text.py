"""A YAML text as a mapping, read strictly and within limits.

YAML forgives what a study cannot: a key given twice silently wins last, and with aliases a few
lines can stand for more values than memory holds. The text may come over the network, so its size
is counted before anything is built from it.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import yaml

from agent.errors import ConfigError

MAX_TEXT = 2 * 1024 * 1024  # characters
MAX_ENTRIES = 20_000  # scalars: keys and values; so many take a tenth of a second
MAX_DEPTH = 100
# Ten times as fast where PyYAML was built with libyaml.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class _OpenNode:
    """A list or mapping whose end has not come yet."""

    anchor: str | None
    entries_before: int
    deepest: int


class _StrictLoader(_Base):  # type: ignore[misc]  # with or without libyaml, hence Any
    """SafeLoader that refuses a key given twice in one mapping."""


class _Refused(Exception):
    """YAML, but not what a sweep may say: a sentence with its line."""

    def __init__(self, node: yaml.Node, text: str) -> None:
        super().__init__(f"line {node.start_mark.line + 1}: {text}")


def _mapping_without_duplicates(loader: Any, node: yaml.MappingNode) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise _Refused(key_node, "a key must be a plain word")
        if key in seen:
            raise _Refused(key_node, f"the key {key!r} is given twice; keep one of them")
        seen.add(key)
    found: dict[object, object] = loader.construct_mapping(node, deep=True)
    return found


def _plain_number(loader: Any, node: yaml.ScalarNode) -> int | float:
    """Refuses what YAML 1.1 reads in base 8 or 60: 010 would be 8, and 12:30 would be 750."""
    text = node.value.lstrip("+-")
    if ":" in text or (text[:1] == "0" and text[1:2].isdigit() and "." not in text):
        raise _Refused(node, f"{node.value} is not a plain number; quote it to make it text")
    kind = "int" if node.tag.endswith("int") else "float"
    found: int | float = getattr(loader, f"construct_yaml_{kind}")(node)
    return found


_StrictLoader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates
)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _plain_number)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _plain_number)


def read_mapping(text: str, *, where: str, is_strict: bool = True) -> dict[str, Any]:
    """The mapping that the text writes. Raises ConfigError with one problem.

    Not strict, of a key given twice the last wins: for texts that were accepted before.
    """
    found: Any = None
    try:
        problem = _limit_exceeded(text)
        if problem is None:
            found = yaml.load(text, _StrictLoader if is_strict else _Base)
    except _Refused as error:
        problem = str(error)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        text = " ".join(str(error).split()).replace(' in "<unicode string>",', " at")
        problem = f"this is not YAML: {text[:200]}"
    if problem is None and not isinstance(found, dict):
        problem = "is not a mapping of sweep keys such as method and parameters"
    if problem is not None:
        raise ConfigError([problem], where=where)
    return {str(key): value for key, value in found.items()}


def _limit_exceeded(text: str) -> str | None:
    """What the text has too much of, by its events: nothing is built. Raises YAMLError.

    An alias counts as all that it stands for. (The client writes one where a list is used twice.)
    """
    if len(text) > MAX_TEXT:
        return f"is longer than {MAX_TEXT} characters"
    entries = depth = 0
    sizes: dict[str, tuple[int, int]] = {}  # by anchor: entries, and levels within
    open_nodes: list[_OpenNode] = []
    for event in yaml.parse(text, _Base):
        level = depth
        if isinstance(event, yaml.ScalarEvent):
            entries += 1
            if event.anchor:
                sizes[event.anchor] = (1, 0)
        elif isinstance(event, yaml.AliasEvent):
            if any(node.anchor == event.anchor for node in open_nodes):
                return f"aliases that contain themselves are not allowed: *{event.anchor}"
            # An unknown one is refused when the text is loaded.
            size = sizes.get(event.anchor or "", (1, 0))
            entries, level = entries + size[0], level + size[1]
        elif isinstance(event, yaml.CollectionStartEvent):
            depth = level = depth + 1
            sizes.pop(event.anchor or "", None)
            open_nodes.append(_OpenNode(event.anchor, entries, depth))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            node = open_nodes.pop()
            level = node.deepest
            if node.anchor:
                sizes[node.anchor] = (entries - node.entries_before, node.deepest - depth)
        if open_nodes:
            open_nodes[-1].deepest = max(open_nodes[-1].deepest, level)
        if entries > MAX_ENTRIES:
            return f"has more than {MAX_ENTRIES} entries"
        if level > MAX_DEPTH:
            return f"is nested too deeply: more than {MAX_DEPTH} levels"
    return None
