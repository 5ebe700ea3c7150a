"""Records of data files as people hold them, each turned into an Example.

Known forms: Alpaca (`instruction`, `input`, `output`: LongRefiner's own files), chat
(`messages`, or ShareGPT's `conversations`), and FlashRAG question answering (`question`,
`golden_answers`).
"""

import ast
import re
import reprlib
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.config.rules import TASKS, unknown_name
from agent.errors import DataError
from agent.training.reading import contents, files, tables
from agent.training.reading.rows import Row, raise_faults

_TASK_IN_NAME = re.compile(
    r"query[-_ ]?analysis|doc(?:ument)?[-_ ]?structuring|global[-_ ]?selection"
)
_MARKUP = re.compile(r"<(abstract|section:|sub-section:)")
_HALF_PAIR = re.compile(r"[\ud800-\udfff]")
# How data sets name the speakers: OpenAI, ShareGPT, OpenAssistant, Gemma.
_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model"), "assistant"),
    **dict.fromkeys(("ai", "bot", "chatbot"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython"), "tool"),
}


@dataclass(frozen=True)
class Example:
    """One prompt with its reference answers.

    `messages` is the prompt as (role, content) pairs; training teaches `answers[0]`, scores take
    the best over all answers. `source` names the document or question that the record says it is
    about: examples of one source are not independent evidence.
    """

    id: str
    task: str
    dataset: str
    messages: tuple[tuple[str, str], ...]
    answers: tuple[str, ...]
    source: str = ""

    def content(self) -> list[object]:
        """What a digest covers: everything but id and source, which change no prompt or answer."""
        return [self.task, self.dataset, self.messages, self.answers]


def read_file(
    path: Path, source: str | None = None, unused: Counter[str] | None = None
) -> list[Example]:
    """Every example of a file; DataError names file and record of each fault, twenty at most.

    `source` names the data set where records name none; the file's name when not given. Fields
    that no example is made from are counted in `unused`.
    """
    source = source or files.stem_of(path)
    return parse_rows(files.rows_of(path), source, str(path), unused)


def parse_rows(
    rows: Iterable[Row | DataError], source: str, where: str, unused: Counter[str] | None = None
) -> list[Example]:
    """The examples of one file or split, `where` it lies; fields that no example is made from are
    counted in `unused`.

    Records that name no task share one: LongRefiner's, each by the form of its answer, where
    every answer has a form of its tasks; else question answering, so that an answer that happens
    to be a list does not split a file into two tasks.
    """
    parsed: list[tuple[Example, bool]] = []
    faults: list[DataError] = []
    for row in rows:
        if isinstance(row, DataError):
            faults.append(row)
            continue
        try:
            parsed.append(_parse(row.record, row.where, source))
            if unused is not None:
                unused.update(contents.unused_fields(row.record))
        except DataError as fault:
            number = f" (record {row.number})" if row.number is not None else ""
            faults.append(DataError(f"{fault}{number}"))
    raise_faults(faults, where)
    if not any(guessed and example.task == "qa" for example, guessed in parsed):
        return [example for example, _ in parsed]
    return [_as_qa(example, source) if guessed else example for example, guessed in parsed]


def _as_qa(example: Example, source: str) -> Example:
    dataset = source if example.dataset == example.task else example.dataset
    return replace(example, task="qa", dataset=dataset)


def parse_record(record: object, *, where: str, source: str) -> Example:
    """One record as an Example. `source` names its file or data set where it names none itself."""
    return _parse(record, where, source)[0]


def _parse(record: object, where: str, source: str) -> tuple[Example, bool]:
    """The example, and whether its task was guessed from the form of its answer."""
    if not isinstance(record, Mapping):
        raise DataError(f"{where}: is a {type(record).__name__}, not an object with named fields")
    guessed = False
    if "golden_answers" in record or ("question" in record and "output" not in record):
        example = _qa_example(record, where, source)
    else:
        messages, answer = _prompt_and_answer(record, where)
        if not answer.strip():
            raise DataError(f"{where}: the answer is empty, so there is nothing to learn from it")
        task, guessed = _task_of(record, answer, where, source)
        own = _label(record.get("dataset"), "dataset", where)
        dataset = own or (source if task == "qa" else task)
        example = Example(_id_of(record, where), task, dataset, messages, (answer,))
    example = replace(example, source=_source_of(record))
    _refuse_broken_text(example, where)
    kept = "\n".join([*(text for _, text in example.messages), *example.answers])
    contents.refuse_lost(record, kept, where)
    return example, guessed


def _source_of(record: Mapping[str, Any]) -> str:
    """The document or question that several records share, in the record or its `metadata`."""
    metadata = record.get("metadata")
    places = [record, metadata] if isinstance(metadata, Mapping) else [record]
    named = (place.get(key) for key in contents.SOURCE_KEYS for place in places)
    return next((str(value) for value in named if isinstance(value, str | int)), "")


def _prompt_and_answer(
    record: Mapping[str, Any], where: str
) -> tuple[tuple[tuple[str, str], ...], str]:
    for name in contents.CHATS:
        if name in record:
            return _chat_turns(record[name], where, system=_text(record, "system", where, ""))
    if "instruction" in record or "output" in record:
        return _alpaca_turns(record, where)
    raise DataError(
        f"{where}: fields {_fields(record)} fit no known form; needed: instruction "
        "and output, or messages, or question and golden_answers"
    )


def _fields(record: Mapping[str, Any]) -> str:
    names = sorted(str(name)[:_LONGEST_NAME] for name in record)
    return f"{names[:_MOST_NAMES]}{' and more' if len(names) > _MOST_NAMES else ''}"


_LONGEST_NAME, _MOST_NAMES = 40, 20


def _refuse_broken_text(example: Example, where: str) -> None:
    """Half a character pair, as a cut emoji leaves, is not text: it can be neither hashed nor read
    by a tokenizer."""
    texts = [
        example.id,
        example.dataset,
        example.source,
        *example.answers,
        *(t for _, t in example.messages),
    ]
    for text in texts:
        if _HALF_PAIR.search(text):
            raise DataError(
                f"{where}: holds half a character (a lone surrogate, as of a cut emoji) in "
                f"{text[:40]!a}; repair or remove the record"
            )


def _qa_example(record: Mapping[str, Any], where: str, source: str) -> Example:
    golds = record.get("golden_answers")
    if golds is None:
        raise DataError(f"{where}: has a question but no golden_answers")
    if isinstance(golds, str) and tables.is_structured(golds):
        golds = _read_list(golds, where)
    if isinstance(golds, str):
        golds = [golds]
    if not isinstance(golds, list | tuple) or not golds or not all(map(_is_text, golds)):
        raise DataError(
            f"{where}: golden_answers must be a list with at least one non-empty text, not "
            f"{reprlib.repr(golds)}"
        )
    metadata = record.get("metadata")
    named = metadata.get("dataset") if isinstance(metadata, Mapping) else None
    dataset = _label(record.get("dataset") or named, "dataset", where) or source
    question = _text(record, "question", where)
    if not question.strip():
        raise DataError(f"{where}: the question is empty")
    return Example(_id_of(record, where), "qa", dataset, (("user", question),), tuple(golds))


def _read_list(text: str, where: str) -> object:
    """A list that was written as text on its way through a table."""
    try:
        return tables.structured(text)
    except ValueError as error:
        raise DataError(f"{where}: golden_answers {error}") from None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _alpaca_turns(record: Mapping[str, Any], where: str) -> tuple[tuple[tuple[str, str], ...], str]:
    if record.get("history"):
        raise DataError(f"{where}: has a history; write such a record as messages")
    system = _text(record, "system", where, default="")
    text = [_text(record, "instruction", where), _text(record, "input", where, default="")]
    prompt = "\n".join(part for part in text if part)
    if not prompt.strip():
        raise DataError(f"{where}: instruction and input are empty, so nothing is asked")
    turns = ((("system", system),) if system.strip() else ()) + (("user", prompt),)
    return turns, _text(record, "output", where)


def _chat_turns(
    turns: object, where: str, system: str = ""
) -> tuple[tuple[tuple[str, str], ...], str]:
    """Turns as (role, content), in the words role and content or, as ShareGPT, from and value."""
    pairs: list[tuple[str, str]] = [("system", system)] if system.strip() else []
    if not isinstance(turns, list | tuple) or len(turns) < 2:
        raise DataError(f"{where}: messages must be a list that ends with the assistant's answer")
    for turn in turns:
        content = turn.get("content", turn.get("value")) if isinstance(turn, Mapping) else None
        if isinstance(content, list):  # parts, as the chat interfaces of multimodal models have
            content = _joined_parts(content, where)
        if not isinstance(content, str) or not content.strip():
            raise DataError(f"{where}: every message needs a role and a content text")
        if any(turn.get(name) for name in ("tool_calls", "function_call")):
            raise DataError(f"{where}: a message calls a tool; only texts can be trained on")
        pairs.append((_role(turn.get("role", turn.get("from")), where), content))
    if pairs[-1][0] != "assistant":
        raise DataError(
            f"{where}: the last message is {pairs[-1][0]!r}, not the assistant's answer"
        )
    if not any(role == "user" for role, _ in pairs):
        raise DataError(f"{where}: no message is the user's, so nothing is asked")
    return tuple(pairs[:-1]), pairs[-1][1]


def _joined_parts(parts: list[Any], where: str) -> str:
    for part in parts:
        if (
            not isinstance(part, Mapping)
            or part.get("type", "text") not in ("text", "input_text", "output_text")
            or not isinstance(part.get("text"), str)
        ):
            raise DataError(f"{where}: a message has a part that is not text; only texts are read")
    return "".join(str(part["text"]) for part in parts)


def _role(given: object, where: str) -> str:
    """The template's word for a role. Templates leave out turns whose role they do not know."""
    word = given.strip().lower() if isinstance(given, str) else given
    role = _ROLES.get(word) if isinstance(word, str) else None
    if role is None:
        raise DataError(
            f"{where}: a message has the role {reprlib.repr(given)}; known: "
            f"{', '.join(sorted(_ROLES))}"
        )
    return role


def _text(record: Mapping[str, Any], name: str, where: str, default: str | None = None) -> str:
    value = record.get(name, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise DataError(f"{where}: {name} is {reprlib.repr(value)}, not a text")
    return value


def _label(value: object, name: str, where: str) -> str:
    """A name or number as text; empty where there is none."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str | int | float) or not _LABEL.fullmatch(str(value)):
        raise DataError(
            f"{where}: {name} is {reprlib.repr(value)}, not a number or a name on one line"
        )
    return str(value)


_LABEL = re.compile(r"[^\x00-\x1f\x7f]{1,300}")  # it names a metric, or is printed


def _id_of(record: Mapping[str, Any], where: str) -> str:
    for name in ("id", "example_id"):
        if given := _label(record.get(name), name, where):
            return given
    path, _, line = where.rpartition(":")
    return f"{Path(path).stem}:{line}"


def _task_of(record: Mapping[str, Any], answer: str, where: str, source: str) -> tuple[str, bool]:
    """The record's own task column, else its file's name, else the form of its answer; and
    whether the last."""
    named = record.get("task")
    if named is not None:
        word = re.sub(r"[-\s]+", "_", _label(named, "task", where).strip().lower())
        word = {"doc_structuring": "document_structuring"}.get(word, word)
        if word not in TASKS:
            raise DataError(f"{where}: {unknown_name(word[:40], TASKS, 'task')}")
        return word, False
    if match := _TASK_IN_NAME.search(source.lower()):
        first = match.group()[0]
        return {"q": TASKS[0], "d": TASKS[1], "g": TASKS[2]}[first], False
    if answer.strip().lower() in ("[local]", "[global]"):
        return "query_analysis", True
    if _MARKUP.search(answer):
        return "document_structuring", True
    return ("global_selection" if is_title_list(answer) else "qa"), True


def is_title_list(text: str) -> bool:
    """True when `text` is a Python list of strings, as step 3 of LongRefiner answers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backslash that escapes nothing is fine in a title
            value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
