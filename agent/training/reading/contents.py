"""Content of a record that would be lost, and fields that no example is made from."""

from collections.abc import Iterator, Mapping
from typing import Any

from agent.errors import DataError

SOURCE_KEYS = ("document_id", "doc_id", "source_id", "passage_id", "question_id")
CHATS = ("messages", "conversations")
# Fields that hold a part of what is asked or answered, in whichever form.
_CONTENT = (
    *("instruction", "input", "output", "question", "system", "system_prompt"),
    *("context", "contexts", "passage", "passages", "choices", "options", *CHATS),
)
_USED = (
    *(*_CONTENT, "golden_answers", "history"),
    *("task", "dataset", "id", "example_id", "metadata", *SOURCE_KEYS),
)
_USED_IN_TURNS = ("role", "content", "from", "value")


def refuse_lost(record: Mapping[str, Any], kept: str, where: str) -> None:
    """A record may be in two forms at once, or have a context beside its question. DataError for
    content that is not in `kept`, the text of prompt and answers."""
    if all(record.get(name) for name in CHATS):
        raise DataError(f"{where}: has messages and conversations; keep one of them")
    for name in _CONTENT:
        lost = next((t for t in _texts_in(record.get(name)) if t.strip() not in kept), None)
        if lost is not None:
            raise DataError(
                f"{where}: its {name} ({lost[:40]!a}) would be left out of prompt and answer; "
                "write it into the text that is asked, or remove the field"
            )


def _texts_in(value: object) -> Iterator[str]:
    """Every text of a field, of lists and objects in it too; of a chat's turn and of its parts,
    what they say."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        names = tuple(value)
        if "role" in value or "from" in value:
            names = ("content", "value")
        elif "type" in value and "text" in value:
            names = ("text",)
        yield from (text for name in names for text in _texts_in(value.get(name)))
    elif isinstance(value, list | tuple):
        yield from (text for part in value for text in _texts_in(part))


def unused_fields(record: object) -> Iterator[str]:
    """Names of fields with a value that the example is not made from."""
    assert isinstance(record, Mapping)
    for name, value in record.items():
        if name not in _USED and value not in (None, "", [], {}):
            yield str(name)
    for chat in CHATS:
        turns = record.get(chat)
        for turn in turns if isinstance(turns, list | tuple) else ():
            names = turn if isinstance(turn, Mapping) else ()
            yield from (f"{n} of {chat}" for n in names if turn[n] and n not in _USED_IN_TURNS)
