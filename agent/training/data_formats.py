"""Records of data files as people hold them, each turned into an Example.

Known forms: Alpaca (`instruction`, `input`, `output`: LongRefiner's own files), chat
(`messages`), and FlashRAG question answering (`question`, `golden_answers`).
"""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import DataError

TASKS = ("query_analysis", "document_structuring", "global_selection", "qa")
_TASK_IN_NAME = re.compile(
    r"query[-_ ]?analysis|doc(?:ument)?[-_ ]?structuring|global[-_ ]?selection"
)
_MARKUP = re.compile(r"<(abstract|section:|sub-section:)")


@dataclass(frozen=True)
class Example:
    """One prompt with its reference answers.

    `messages` is the prompt as (role, content) pairs; training teaches `answers[0]`, scores take
    the best over all answers.
    """

    id: str
    task: str
    dataset: str
    messages: tuple[tuple[str, str], ...]
    answers: tuple[str, ...]

    def content(self) -> list[object]:
        """What a digest covers: everything but the id."""
        return [self.task, self.dataset, self.messages, self.answers]


def read_file(path: Path) -> Iterator[Example]:
    """Every example of a JSON array or JSONL file; DataError names file and line of a bad one."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: is not UTF-8 text") from None
    rows = _array_rows if text.lstrip()[:1] == "[" else _jsonl_rows
    empty = True
    for line, record in rows(path, text):
        empty = False
        yield parse_record(record, where=f"{path}:{line}", source=path.stem)
    if empty:
        raise DataError(f"{path}: holds no records")


def _jsonl_rows(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    for line, row in enumerate(text.split("\n"), start=1):
        if row.strip():
            try:
                yield line, json.loads(row)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}:{line}: is not JSON: {error}") from None


def _array_rows(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """Walk the array one element at a time, so that every record knows its line."""
    decoder = json.JSONDecoder()
    position, line, counted = text.index("[") + 1, 1, 0
    while True:
        while position < len(text) and text[position] in " \t\r\n,":
            position += 1
        line += text.count("\n", counted, position)
        counted = position
        if position >= len(text):
            raise DataError(f"{path}:{line}: the array is not closed; is the file complete?")
        if text[position] == "]":
            return
        try:
            record, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            at = line + text.count("\n", counted, getattr(error, "pos", counted))
            raise DataError(f"{path}:{at}: is not JSON: {error}") from None
        yield line, record


def parse_record(record: object, *, where: str, source: str) -> Example:
    """One record as an Example. `source` names its file or data set where it names none itself."""
    if not isinstance(record, Mapping):
        raise DataError(f"{where}: is a {type(record).__name__}, not an object with named fields")
    if "golden_answers" in record or ("question" in record and "output" not in record):
        return _qa_example(record, where, source)
    if "messages" in record:
        messages, answer = _chat_turns(record["messages"], where)
    elif "instruction" in record or "output" in record:
        messages, answer = _alpaca_turns(record, where)
    else:
        raise DataError(
            f"{where}: fields {sorted(map(str, record))} fit no known form; needed: instruction "
            "and output, or messages, or question and golden_answers"
        )
    if not answer.strip():
        raise DataError(f"{where}: the answer is empty, so there is nothing to learn from it")
    task = _task_of(record, answer, where, source)
    dataset = str(record.get("dataset") or (source if task == "qa" else task))
    return Example(_id_of(record, where), task, dataset, messages, (answer,))


def _qa_example(record: Mapping[str, Any], where: str, source: str) -> Example:
    golds = record.get("golden_answers")
    if golds is None:
        raise DataError(f"{where}: has a question but no golden_answers")
    if isinstance(golds, str):
        golds = [golds]
    if not isinstance(golds, list | tuple) or not golds or not all(map(_is_text, golds)):
        raise DataError(f"{where}: golden_answers must be a list with at least one non-empty text")
    metadata = record.get("metadata")
    named = metadata.get("dataset") if isinstance(metadata, Mapping) else None
    dataset = str(record.get("dataset") or named or source)
    messages = (("user", _text(record, "question", where)),)
    return Example(_id_of(record, where), "qa", dataset, messages, tuple(map(str, golds)))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _alpaca_turns(record: Mapping[str, Any], where: str) -> tuple[tuple[tuple[str, str], ...], str]:
    if record.get("history"):
        raise DataError(f"{where}: has a history; write such a record as messages")
    system = _text(record, "system", where, default="")
    text = [_text(record, "instruction", where), _text(record, "input", where, default="")]
    prompt = ("user", "\n".join(part for part in text if part))
    return ((("system", system),) if system else ()) + (prompt,), _text(record, "output", where)


def _chat_turns(turns: object, where: str) -> tuple[tuple[tuple[str, str], ...], str]:
    pairs: list[tuple[str, str]] = []
    if not isinstance(turns, list | tuple) or len(turns) < 2:
        raise DataError(f"{where}: messages must be a list that ends with the assistant's answer")
    for turn in turns:
        if not isinstance(turn, Mapping) or not _is_text(turn.get("content")):
            raise DataError(f"{where}: every message needs a role and a content text")
        pairs.append((str(turn.get("role")), str(turn["content"])))
    if pairs[-1][0] != "assistant":
        raise DataError(
            f"{where}: the last message is {pairs[-1][0]!r}, not the assistant's answer"
        )
    return tuple(pairs[:-1]), pairs[-1][1]


def _text(record: Mapping[str, Any], name: str, where: str, default: str | None = None) -> str:
    value = record.get(name, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise DataError(f"{where}: {name} is {value!r}, not a text")
    return value


def _id_of(record: Mapping[str, Any], where: str) -> str:
    given = record.get("id", record.get("example_id"))
    if given is not None:
        return str(given)
    path, _, line = where.rpartition(":")
    return f"{Path(path).stem}:{line}"


def _task_of(record: Mapping[str, Any], answer: str, where: str, source: str) -> str:
    """The record's own task column, else its file's name, else the form of its answer."""
    named = record.get("task")
    if named is not None:
        word = re.sub(r"[-\s]+", "_", str(named).strip().lower())
        word = {"doc_structuring": "document_structuring"}.get(word, word)
        if word not in TASKS:
            raise DataError(f"{where}: unknown task {named!r}; known: {', '.join(TASKS)}")
        return word
    if match := _TASK_IN_NAME.search(source.lower()):
        first = match.group()[0]
        return {"q": TASKS[0], "d": TASKS[1], "g": TASKS[2]}[first]
    if answer.strip().lower() in ("[local]", "[global]"):
        return "query_analysis"
    if _MARKUP.search(answer):
        return "document_structuring"
    return "global_selection" if is_title_list(answer) else "qa"


def is_title_list(text: str) -> bool:
    """True when `text` is a Python list of strings, as step 3 of LongRefiner answers."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
