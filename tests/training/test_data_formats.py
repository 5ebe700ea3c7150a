"""Every form of record that people hold, and every way one can be wrong."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.errors import DataError
from agent.training.data_formats import parse_record, parse_rows, read_file
from agent.training.reading.rows import Row

ALPACA = {"instruction": "Decide.", "input": "Who?", "output": "[Local]"}


def parse(record: object, source: str = "file") -> Any:
    return parse_record(record, where="dir/file.json:7", source=source)


def test_an_alpaca_record_becomes_one_user_turn_of_instruction_and_input() -> None:
    example = parse(ALPACA)
    assert example.messages == (("user", "Decide.\nWho?"),)
    assert example.answers == ("[Local]",)
    assert (example.task, example.dataset, example.id) == (
        "query_analysis",
        "query_analysis",
        "file:7",
    )


def test_an_alpaca_record_without_input_has_no_stray_line_break() -> None:
    assert parse({"instruction": "Hi", "output": "yo"}).messages == (("user", "Hi"),)


def test_an_alpaca_system_text_is_a_turn_of_its_own() -> None:
    assert parse({**ALPACA, "system": "Be brief."}).messages[0] == ("system", "Be brief.")


def test_a_chat_record_keeps_its_turns_and_answers_with_the_last() -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Ada"},
    ]
    example = parse({"messages": turns, "id": 12})
    assert example.messages == (("system", "Be brief."), ("user", "Who?"))
    assert (example.answers, example.id, example.task) == (("Ada",), "12", "qa")


@pytest.mark.parametrize(
    ("extra", "dataset"),
    [({}, "file"), ({"dataset": "nq"}, "nq"), ({"metadata": {"dataset": "hotpotqa"}}, "hotpotqa")],
)
def test_a_flashrag_record_keeps_every_gold_and_names_its_data_set(
    extra: dict[str, Any], dataset: str
) -> None:
    record = {"id": "q1", "question": "Who?", "golden_answers": ["Ada", "A. Lovelace"], **extra}
    example = parse(record)
    assert example.answers == ("Ada", "A. Lovelace")
    assert (example.task, example.dataset, example.id) == ("qa", dataset, "q1")


@pytest.mark.parametrize(
    ("output", "source", "task"),
    [
        ("[Global]", "x", "query_analysis"),
        ("<abstract>a</abstract><section: b>c", "x", "document_structuring"),
        ("['abstract']", "x", "global_selection"),
        ("Paris", "x", "qa"),
        ("anything", "step1_query-analysis", "query_analysis"),
        ("anything", "step2_doc-structuring", "document_structuring"),
        ("anything", "step3_global-selection", "global_selection"),
    ],
)
def test_the_task_is_recognised_by_file_name_or_by_the_answer(
    output: str, source: str, task: str
) -> None:
    assert parse({"instruction": "i", "output": output}, source).task == task


def test_a_task_column_wins_over_the_form_of_the_answer() -> None:
    record = {**ALPACA, "task": "doc-structuring"}
    assert parse(record, "step1_query-analysis").task == "document_structuring"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([1], "is a list, not an object"),
        ({"text": "x"}, r"fields \['text'\] fit no known form"),
        ({"instruction": "i", "output": "  "}, "the answer is empty"),
        ({"instruction": 3, "output": "x"}, "instruction is 3, not a text"),
        ({"instruction": "i"}, "output is None, not a text"),
        ({**ALPACA, "task": "poetry"}, "unknown task 'poetry'; known: query_analysis"),
        ({**ALPACA, "history": [["a", "b"]]}, "has a history"),
        ({"question": "Who?"}, "no golden_answers"),
        ({"question": "Who?", "golden_answers": []}, "at least one non-empty text"),
        ({"question": "Who?", "golden_answers": [" "]}, "at least one non-empty text"),
        ({"golden_answers": ["x"]}, "question is None, not a text"),
        ({"messages": [{"role": "user", "content": "x"}]}, "must be a list that ends with"),
        (
            {"messages": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}]},
            "the last message is 'user'",
        ),
        ({"messages": [{"role": "user"}, {"role": "assistant", "content": "y"}]}, "a content text"),
    ],
)
def test_a_malformed_record_is_refused_with_its_place(record: object, message: str) -> None:
    with pytest.raises(DataError, match=rf"^dir/file\.json:7: .*{message}"):
        parse(record)


def test_a_json_array_and_json_lines_of_it_read_the_same(tmp_path: Path) -> None:
    rows = [ALPACA, {**ALPACA, "output": "[Global]"}]
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=2))
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    contents = [[e.content() for e in read_file(tmp_path / name)] for name in ("a.json", "b.jsonl")]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 2


def test_a_byte_order_mark_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps([ALPACA]), encoding="utf-8")
    assert len(list(read_file(tmp_path / "a.json"))) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.json",
            '[\n {"instruction": "i", "output": "x"},\n {"instruction": 1}\n]',
            "a.json:3: ",
        ),
        ("a.json", '[\n {"instruction": "i", "output": "x"},\n {bad}\n]', "a.json:3: is not JSON"),
        ("a.json", '[\n {"instruction": "i", "output": "x"}', "a.json:2: the array is not closed"),
        ("a.jsonl", '{"instruction": "i", "output": "x"}\n{"bro', "a.jsonl:2: is not JSON"),
        ("a.jsonl", '{"instruction": "i", "output": "x"}\n\n[]', "a.jsonl:3: is a list"),
        ("a.json", "[]", "a.json: holds no records"),
        ("a.jsonl", "", "a.jsonl: holds no records"),
    ],
)
def test_a_malformed_file_is_reported_with_file_and_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        list(read_file(tmp_path / name))


def test_text_that_is_not_utf8_is_reported_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(json.dumps(ALPACA).encode() + b'\n{"x": "\xff"}')
    with pytest.raises(DataError, match=r"a\.jsonl:2: is not UTF-8"):
        list(read_file(tmp_path / "a.jsonl"))


# ------------------------------------------------------------------ roles, tasks, broken text
@pytest.mark.parametrize("role", ["human", "User", "prompter"])
def test_other_words_for_the_speakers_become_the_templates_words(role: str) -> None:
    turns = [{"from": "developer", "value": "s"}, {"from": role, "value": "q"}]
    example = parse({"conversations": [*turns, {"from": "gpt", "value": "a"}]})
    assert example.messages == (("system", "s"), ("user", "q"))
    assert example.answers == ("a",)


@pytest.mark.parametrize("role", ["narrator", None, 3, ["user"]])
def test_a_role_that_no_template_has_is_refused(role: object) -> None:
    turns = [{"role": role, "content": "q"}, {"role": "assistant", "content": "a"}]
    with pytest.raises(DataError, match=r"a message has the role .*; known: ai, assistant, bard"):
        parse({"messages": turns})


def test_a_file_of_plain_answers_is_one_task_though_some_are_lists(tmp_path: Path) -> None:
    rows = [{"instruction": f"q{i}", "output": "['a']" if i % 3 else "a"} for i in range(6)]
    rows.append({"instruction": "q", "output": "[Local]"})
    (tmp_path / "own.json").write_text(json.dumps(rows))
    assert {(e.task, e.dataset) for e in read_file(tmp_path / "own.json")} == {("qa", "own")}


def test_longrefiners_steps_in_one_file_keep_their_tasks(tmp_path: Path) -> None:
    outputs = ["[Local]", "<abstract>a</abstract>", "['a']"]
    rows = [{"instruction": "q", "output": output} for output in outputs]
    (tmp_path / "all.json").write_text(json.dumps(rows))
    tasks = [e.task for e in read_file(tmp_path / "all.json")]
    assert tasks == ["query_analysis", "document_structuring", "global_selection"]


@pytest.mark.parametrize(
    "record",
    [
        {**ALPACA, "output": "half \ud83d"},
        {**ALPACA, "input": "half \udc00"},
        {**ALPACA, "id": "\ud83d"},
        {"question": "q", "golden_answers": ["x", "\ud83d"]},
        {"messages": [{"role": "user", "content": "\ud83d"}, {"role": "gpt", "content": "x"}]},
    ],
)
def test_half_a_character_is_refused_in_a_sentence_that_can_be_printed(record: object) -> None:
    with pytest.raises(DataError, match="half a character") as caught:
        parse(record)
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("record", "source"),
    [
        ({**ALPACA, "document_id": 7}, "7"),
        ({**ALPACA, "doc_id": "d1", "question_id": "q1"}, "d1"),
        ({"question": "q", "golden_answers": ["x"], "metadata": {"passage_id": "p"}}, "p"),
        (ALPACA, ""),
        ({**ALPACA, "source": "nq"}, ""),  # the name of a data set, which is no cluster
    ],
)
def test_the_document_that_examples_share_is_kept_and_in_no_digest(
    record: dict[str, Any], source: str
) -> None:
    example = parse(record)
    assert example.source == source
    assert source not in map(str, example.content()) or not source


U, A = {"role": "user", "content": "q?"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("record", "lost"),
    [
        ({"question": "q", "golden_answers": ["a"], "context": "A long text."}, "context"),
        ({"question": "q", "golden_answers": ["a"], "choices": ["x", "y"]}, "choices"),
        ({"question": "q", "golden_answers": ["a"], "choices": {"text": ["no"]}}, "choices"),
        ({"question": "q", "golden_answers": ["a"], "instruction": "Be brief."}, "instruction"),
        ({"question": "q", "golden_answers": ["a"], "messages": [U, A]}, "messages"),
        ({"messages": [U, A], "instruction": "other", "output": "o"}, "instruction"),
        ({"messages": [U, A], "system_prompt": "Be brief."}, "system_prompt"),
        ({"instruction": "i", "output": "o", "context": "c"}, "context"),
    ],
)
def test_content_beside_the_form_is_not_lost(record: dict[str, Any], lost: str) -> None:
    with pytest.raises(DataError, match=rf"its {lost} \('.*'\) would be left out"):
        parse(record)


def test_the_same_content_in_two_forms_is_used() -> None:
    assert parse({"messages": [U, A], "question": "q?", "output": "a"}).answers == ("a",)
    parts = [{"type": "text", "text": "q?"}, {"type": "text", "text": "more"}]
    asked = parse({"messages": [{"role": "user", "content": parts}, A], "input": "more"})
    assert asked.messages == (("user", "q?more"),)
    with pytest.raises(DataError, match="has messages and conversations; keep one"):
        parse({"messages": [U, A], "conversations": [U, A]})


def test_fields_that_are_not_used_are_counted() -> None:
    unused: Counter[str] = Counter()
    turns = [U, {**A, "reasoning_content": "because"}]
    rows = [
        Row("a:1", {"messages": turns, "tools": ["f"], "score": 0}),
        Row("a:2", {"messages": turns, "tools": []}),
    ]
    parse_rows(rows, "a", "a", unused)
    assert unused == {"tools": 1, "score": 1, "reasoning_content of messages": 2}


@pytest.mark.parametrize("golds", ["['a', 'b']", '["a", "b"]'])
def test_a_list_of_answers_that_became_text_is_a_list(golds: str) -> None:
    assert parse({"question": "q", "golden_answers": golds}).answers == ("a", "b")


def test_a_list_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(DataError, match=r"golden_answers holds a list .* cannot be read"):
        parse({"question": "q", "golden_answers": "['a' 'b']"[:-1] + "' x]"})
    with pytest.raises(DataError, match=r"not \[1990\]"):
        parse({"question": "q", "golden_answers": [1990]})


def test_a_part_that_is_an_image_is_refused_though_it_has_a_text() -> None:
    part = {"type": "image", "text": "a harbour"}
    with pytest.raises(DataError, match="a part that is not text"):
        parse({"messages": [{"role": "user", "content": [part]}, A]})


@pytest.mark.parametrize("name", ["a\nb", "x" * 400, "\x07"])
def test_a_name_that_could_not_be_printed_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="not a number or a name on one line"):
        parse({"question": "q", "golden_answers": ["a"], "dataset": name})
