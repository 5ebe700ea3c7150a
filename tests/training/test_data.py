"""Splits that any machine makes the same, whatever the data come as."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConfigError, DataError
from agent.training import data, prompts
from agent.training.data_formats import Example
from tests.training import lab


def example(prompt: str, dataset: str = "qa", answer: str = "x", name: str = "") -> Example:
    return Example(name or prompt, "qa", dataset, (("user", prompt),), (answer,))


def qa(prompt: str, **values: Any) -> dict[str, Any]:
    return {"question": prompt, "golden_answers": ["x"], **values}


def test_the_same_seed_splits_the_same_whatever_the_order() -> None:
    examples = [example(f"q{i}") for i in range(40)]
    first = data.hold_out(examples, 0.2, 0.1, seed=3)
    again = data.hold_out(examples[::-1], 0.2, 0.1, seed=3)
    assert [{e.id for e in part} for part in first] == [{e.id for e in part} for part in again]
    assert [len(part) for part in first] == [28, 8, 4]
    other = data.hold_out(examples, 0.2, 0.1, seed=4)
    assert {e.id for e in other[1]} != {e.id for e in first[1]}


def test_the_splits_are_those_of_every_machine() -> None:
    """A known answer: a changed hash would silently train on what was held out before."""
    parts = data.hold_out([example(f"q{i}") for i in range(10)], 0.2, 0.1, seed=0)
    assert [sorted(e.id for e in part) for part in parts[1:]] == [["q0", "q2"], ["q4"]]


def test_every_data_set_is_held_out_in_its_own_proportion() -> None:
    examples = [example(f"a{i}", "nq") for i in range(30)]
    examples += [example(f"b{i}", "hotpotqa") for i in range(10)]
    _, validation, _ = data.hold_out(examples, 0.2, 0.0, seed=0)
    assert sorted(e.dataset for e in validation) == ["hotpotqa"] * 2 + ["nq"] * 6


def test_a_prompt_that_occurs_twice_never_straddles_two_splits() -> None:
    twice = [example(f"q{i}", name=f"{copy}{i}") for i in range(30) for copy in "ab"]
    elsewhere = [example(f"q{i}", dataset="other", name=f"c{i}") for i in range(30)]
    parts = data.hold_out([*twice, *elsewhere], 0.3, 0.2, seed=1)
    seen = [{e.messages for e in part} for part in parts]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    assert sum(map(len, parts)) == 90


def test_examples_of_one_document_are_held_out_together() -> None:
    examples = [replace(example(f"q{i}"), source=f"d{i // 4}") for i in range(80)]
    joined = [replace(example("q0"), source="d19"), replace(example("q40"), source="d18")]
    parts = data.hold_out([*examples, *joined], 0.2, 0.2, seed=0)
    documents = [{e.source for e in part} for part in parts]
    assert min(map(len, documents)) > 2
    assert sum(map(len, documents)) == len(set.union(*documents)) == 20
    for pair in ({"d0", "d19"}, {"d10", "d18"}):
        assert any(pair <= found for found in documents)


def test_a_repeated_id_gets_a_number_so_that_scores_pair_up(tmp_path: Path) -> None:
    lab.write_lines(tmp_path / "a.jsonl", [qa("1", id="q"), qa("2", id="q"), qa("3", id="q#2")])
    ids = [e.id for e in data.read(str(tmp_path / "a.jsonl"))]
    assert ids[:2] == ["q", "q#2"]
    assert len(set(ids)) == 3


def test_a_directory_and_its_files_with_commas_are_the_same_data(tmp_path: Path) -> None:
    folder = lab.write_examples(tmp_path / "data", per_task=4)
    files = ",".join(str(p) for p in sorted(folder.iterdir()))
    assert data.digest_of(data.read(str(folder))) == data.digest_of(data.read(files))
    assert {e.task for e in data.read(files)} == {
        "query_analysis",
        "document_structuring",
        "global_selection",
    }


def test_moved_files_keep_their_training_digest(tmp_path: Path) -> None:
    rows = [qa(f"q{i}", id=f"q{i}", dataset="nq") for i in range(10)]
    digests = set()
    for name in ("one.jsonl", "two.jsonl"):
        config = lab.make_config(tmp_path, dataset=str(lab.write_lines(tmp_path / name, rows)))
        loaded = data.load(config)
        digests.add((loaded.train_digest, loaded.validation_digest))
    assert len(digests) == 1


def test_other_ids_are_other_validation_data(tmp_path: Path) -> None:
    """Stored scores are paired by id, so scores under other ids must not be taken for these."""
    digests = []
    for prefix in "ab":
        rows = [qa(f"q{i}", id=f"{prefix}{i}", dataset="nq") for i in range(10)]
        file = lab.write_lines(tmp_path / f"{prefix}.jsonl", rows)
        loaded = data.load(lab.make_config(tmp_path, dataset=str(file)))
        digests.append((loaded.train_digest, loaded.validation_digest))
    assert digests[0][0] == digests[1][0]
    assert digests[0][1] != digests[1][1]


def test_a_sweep_never_sees_the_test_split(tmp_path: Path) -> None:
    config = lab.make_config(tmp_path)
    loaded = data.load(config)
    test = data.load_test(config)
    assert test
    seen = {e.messages for e in (*loaded.train, *loaded.validation)}
    assert not seen & {e.messages for e in test}


def test_one_task_is_held_out_as_it_is_among_all(tmp_path: Path) -> None:
    whole = data.load(lab.make_config(tmp_path))
    alone = data.load(lab.make_config(tmp_path, task="global_selection"))
    assert {e.task for e in (*alone.train, *alone.validation)} == {"global_selection"}
    assert alone.train == tuple(e for e in whole.train if e.task == "global_selection")
    assert alone.validation == tuple(e for e in whole.validation if e.task == "global_selection")
    with pytest.raises(DataError, match="no training examples of task = 'qa' are left"):
        data.load(lab.make_config(tmp_path, task="qa"))
    with pytest.raises(ConfigError, match="unknown task 'global_select'; did you mean"):
        lab.make_config(tmp_path, task="global_select")


def test_prompts_that_are_trained_and_validated_are_counted(tmp_path: Path) -> None:
    file = lab.write_lines(tmp_path / "v.jsonl", [qa("q3"), qa("new")])
    rows = [qa(f"q{i}") for i in range(5)]
    train = lab.write_lines(tmp_path / "t.jsonl", rows)
    config = lab.make_config(
        tmp_path, dataset=str(train), validation_dataset=str(file), test_fraction=0
    )
    loaded = data.load(config)
    assert len(loaded.train) == 5
    assert loaded.facts() == {
        "data/train_examples": 5,
        "data/validation_examples": 2,
        "data/shared_prompts": 1,
    }


def test_eval_examples_bounds_validation_to_the_same_examples_for_every_run(tmp_path: Path) -> None:
    all_of_it = data.load(lab.make_config(tmp_path)).validation
    few = data.load(lab.make_config(tmp_path, eval_examples=4)).validation
    assert len(few) == 4
    assert [e for e in all_of_it if e in few] == list(few)


def test_too_small_a_data_set_says_which_part_is_missing(tmp_path: Path) -> None:
    file = lab.write_lines(tmp_path / "a.jsonl", [qa("only")])
    with pytest.raises(DataError, match="no validation examples are left"):
        data.load(lab.make_config(tmp_path, dataset=str(file)))
    with pytest.raises(DataError, match="no test split"):
        data.load_test(lab.make_config(tmp_path, dataset=str(file), test_fraction=0))


def test_a_directory_without_data_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: holds no \.json or \.jsonl file"):
        data.read(str(tmp_path / "empty"))


# ------------------------------------------------------------------ Hugging Face data sets
def save_splits(path: Path, **splits: list[dict[str, Any]]) -> str:
    import datasets

    tables = {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
    datasets.DatasetDict(tables).save_to_disk(str(path))
    return str(path)


def test_a_saved_data_set_brings_its_own_splits_and_its_test_split_stays_unread(
    tmp_path: Path,
) -> None:
    name = save_splits(
        tmp_path / "hf",
        train=[qa(f"t{i}") for i in range(6)],
        dev=[qa(f"v{i}") for i in range(3)],
        test=[{"question": "malformed", "golden_answers": [""]}],
    )
    config = lab.make_config(tmp_path, dataset=name)
    loaded = data.load(config)
    assert (len(loaded.train), len(loaded.validation)) == (6, 3)
    with pytest.raises(DataError, match="hf/test:1: golden_answers must be"):
        data.load_test(config)


def test_a_validation_data_set_gives_its_validation_split(tmp_path: Path) -> None:
    name = save_splits(
        tmp_path / "hf", train=[qa("t1"), qa("t2")], validation=[qa("v1")], test=[qa("x1")]
    )
    config = lab.make_config(tmp_path, dataset=name, validation_dataset=name, test_dataset=name)
    loaded = data.load(config)
    assert [e.messages[0][1] for e in loaded.validation] == ["v1"]
    assert [e.messages[0][1] for e in data.load_test(config)] == ["x1"]
    assert loaded.shared_prompts == 0


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    name = save_splits(tmp_path / "hf", train=[qa("t")], extra=[qa("e")])
    with pytest.raises(DataError, match="has the splits train, extra and none named test"):
        data.read(name, "test")


def test_parquet_files_are_read_through_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "hf").mkdir()
    rows = datasets.Dataset.from_list([qa("t1"), qa("t2")])
    rows.to_parquet(str(tmp_path / "hf" / "train.parquet"))
    assert [e.messages[0][1] for e in data.read(str(tmp_path / "hf"))] == ["t1", "t2"]


def test_an_unknown_data_set_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def unreachable(*_: object) -> None:
        raise ConnectionError("the hub cannot be reached\nlong trace")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DataError, match=r"can be loaded: the hub cannot be reached$"):
        data.read("nobody/nothing:part")


# ------------------------------------------------------------------ as token ids
class Letters:
    """A tokenizer of single letters; id 0 ends a text."""

    eos_token_id = 0
    chat_template = None

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}


def test_too_long_is_counted_and_nothing_is_cut() -> None:
    examples = [example("a" * 5, answer="bb"), example("a" * 50, answer="bb")]
    sequences, too_long = prompts.encode(Letters(), examples, max_length=9)
    assert too_long == 1
    (only,) = sequences
    assert only.input_ids == (*map(ord, "aaaaa\nbb"), 0)  # prompt, line break, answer, end
    assert only.answer_start == 6


def test_a_task_of_its_own_limit_is_held_to_that() -> None:
    examples = [example("aaaaaaaaaa", answer="bb"), example("aaaaa", answer="bb")]
    assert prompts.encode(Letters(), examples, 9, {examples[0].task: 99})[1] == 0
    assert prompts.encode(Letters(), examples, 99, {examples[0].task: 9})[1] == 1
    assert prompts.encode(Letters(), examples, 9, {"global_selection": 99})[1] == 1


def test_exactly_max_length_fits() -> None:
    assert prompts.encode(Letters(), [example("aaaaa", answer="bb")], max_length=9)[1] == 0
    assert prompts.encode(Letters(), [example("aaaaa", answer="bb")], max_length=8)[1] == 1


def test_a_chat_template_writes_the_prompt_when_there_is_one() -> None:
    from agent.training.base_model import load_tokenizer

    tokenizer = load_tokenizer(lab.BASE_MODEL)
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    text = prompts.prompt_text(tokenizer, (("system", "s"), ("user", "u")))
    assert text == "<system>s<user>u<assistant>"
