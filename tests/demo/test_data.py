"""The demo data: reproducible bytes, the official format, golds on which the tasks make sense."""

import ast
import json
import re
from pathlib import Path
from random import Random

import pytest

from agent.demo import data, toy_world

FILES = tuple(data.TASKS)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in data.write_data(tmp_path / "a")]
    again = [path.read_bytes() for path in data.write_data(tmp_path / "b")]
    other = [path.read_bytes() for path in data.write_data(tmp_path / "c", seed=data.SEED + 1)]
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_the_files_are_alpaca_arrays_under_the_official_names(tmp_path: Path) -> None:
    paths = data.write_data(tmp_path)
    assert [path.name for path in paths] == [
        "step1_query-analysis.json",
        "step2_doc-structuring.json",
        "step3_global-selection.json",
    ]
    assert sorted(tmp_path.iterdir()) == paths  # and no leftovers
    for path in paths:
        records = json.loads(path.read_text(encoding="utf-8"))
        assert len(records) == data.TASKS[path.name].examples
        assert all(list(record) == ["instruction", "input", "output"] for record in records)


@pytest.mark.parametrize("name", FILES)
def test_no_input_occurs_twice(name: str) -> None:
    inputs = [example["input"] for example in data.make_examples(name)]
    assert len(set(inputs)) == len(inputs)


def test_query_analysis_has_both_answers_in_numbers() -> None:
    outputs = [example["output"] for example in data.make_examples(FILES[0])]
    assert set(outputs) == {"[Local]", "[Global]"}
    assert 0.4 < outputs.count("[Local]") / len(outputs) < 0.7


def test_structuring_golds_name_what_the_document_is_about() -> None:
    for example in data.make_examples(FILES[1]):
        sentences = [s for s in example["input"].split(".")[1:] if s]
        found = re.findall(r"<((?:sub-)?section): ([a-z]+)>([a-z]+)", example["output"])
        assert len(found) == len(sentences) >= 3
        for (level, title, word), sentence in zip(found, sentences, strict=True):
            assert toy_world.SUBJECT_OF[word] == title
            assert f" {word} " in f"{sentence} "
            assert (level == "sub-section") == sentence.strip().startswith("there,")
            assert title not in re.findall("[a-z]+", example["input"])


def test_selection_golds_are_lists_of_titles_from_the_outline() -> None:
    for example in data.make_examples(FILES[2]):
        chosen = ast.literal_eval(example["output"])
        outline = ["abstract", *re.findall(r"section: ([a-z]+)>", example["input"])]
        assert chosen
        assert set(chosen) <= set(outline)


def test_draws_are_without_repetition_and_reach_every_item() -> None:
    rng = Random(0)
    seen: set[int] = set()
    for _ in range(200):
        drawn = toy_world.draw(rng, range(6), 3)
        assert len(set(drawn)) == 3
        seen.update(drawn)
    assert seen == set(range(6))
