"""Splits by name: what is there for validation or test is never trained on."""

from pathlib import Path
from typing import Any

import pytest

from agent.errors import DataError
from agent.training import data
from agent.training.reading.sources import open_source
from agent.training.reading.split_names import split_named_in
from tests.training import lab


def qa(prompt: str, **values: Any) -> dict[str, Any]:
    return {"question": prompt, "golden_answers": ["x"], **values}


def write(folder: Path, **counts: int) -> Path:
    """A file of that many questions for each name, its questions starting with the name."""
    for name, count in counts.items():
        path = folder / f"{name.replace('__', '/')}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        lab.write_lines(path, [qa(f"{name} {i}") for i in range(count)])
    return folder


def asked(examples: Any) -> set[str]:
    return {e.messages[0][1].split()[0] for e in examples}


def test_a_folder_as_flashrag_ships_it_is_three_splits(tmp_path: Path) -> None:
    nq = write(tmp_path / "nq", train=16, dev=8, test=8)
    loaded = data.load(lab.make_config(tmp_path, dataset=str(nq)))
    assert (asked(loaded.train), len(loaded.train)) == ({"train"}, 16)
    assert (asked(loaded.validation), len(loaded.validation)) == ({"dev"}, 8)
    assert {e.dataset for e in loaded.validation} == {"nq"}
    assert asked(data.load_test(lab.make_config(tmp_path, dataset=str(nq)))) == {"test"}
    assert f"{nq}: train from {nq}/train.jsonl" in loaded.notes


def test_the_test_file_stays_unread_while_a_sweep_runs(tmp_path: Path) -> None:
    nq = write(tmp_path / "nq", train=16, dev=8)
    (nq / "test.jsonl").write_text("not a record\n")
    config = lab.make_config(tmp_path, dataset=str(nq))
    assert len(data.load(config).train) == 16
    with pytest.raises(DataError, match="is not JSON"):
        data.load_test(config)


def test_sub_folders_are_data_sets_of_their_own(tmp_path: Path) -> None:
    root = write(tmp_path / "qa", nq__train=4, nq__dev=2, hotpotqa__train=4, hotpotqa__dev=2)
    loaded = data.load(lab.make_config(tmp_path, dataset=str(root)))
    assert sorted({e.dataset for e in loaded.train}) == ["hotpotqa", "nq"]
    assert asked(loaded.train) == {"nq__train", "hotpotqa__train"}


def test_several_folders_keep_their_splits_apart(tmp_path: Path) -> None:
    folders = [write(tmp_path / "nq", train=4, dev=2), write(tmp_path / "popqa", test=3)]
    config = lab.make_config(tmp_path, dataset=",".join(map(str, folders)))
    loaded = data.load(config)
    assert asked(loaded.train) == {"train"}
    assert asked(data.load_test(config)) == {"test"}


def test_a_folder_of_a_test_split_only_is_not_trained_on(tmp_path: Path) -> None:
    popqa = write(tmp_path / "popqa", test=30)
    with pytest.raises(DataError, match="has the splits test and none named train"):
        data.load(lab.make_config(tmp_path, dataset=str(popqa)))
    chosen = data.load(lab.make_config(tmp_path, dataset=str(popqa / "test.jsonl")))
    assert asked(chosen.train) == {"test"}


def test_files_named_one_by_one_are_the_splits_their_names_say(tmp_path: Path) -> None:
    nq = write(tmp_path / "nq", train=16, dev=8, test=8)
    config = lab.make_config(tmp_path, dataset=f"{nq}/train.jsonl, {nq}/dev.jsonl")
    assert asked(data.load(config).train) == {"train"}
    config = lab.make_config(
        tmp_path, dataset=f"{nq}/train.jsonl", validation_dataset=f"{nq}/dev.jsonl"
    )
    loaded = data.load(config)
    assert (asked(loaded.train), asked(loaded.validation)) == ({"train"}, {"dev"})
    assert {e.dataset for e in (*loaded.train, *loaded.validation)} == {"nq"}


def test_a_file_without_a_split_beside_named_ones_is_refused(tmp_path: Path) -> None:
    nq = write(tmp_path / "nq", train=16, test=8, corpus=8)
    with pytest.raises(DataError, match=r"corpus\.jsonl: its name says no split"):
        data.load(lab.make_config(tmp_path, dataset=str(nq)))


@pytest.mark.parametrize("name", ["holdout", "nq_held_out", "nqBlind", "unseen-1"])
def test_a_held_out_file_that_does_not_say_for_what_is_refused(tmp_path: Path, name: str) -> None:
    nq = write(tmp_path / "nq", a=16, **{name: 8})
    with pytest.raises(DataError, match="says that it is held out, but not whether"):
        data.load(lab.make_config(tmp_path, dataset=str(nq)))
    chosen = data.load(lab.make_config(tmp_path, dataset=f"{nq}/{name}.jsonl"))
    assert asked(chosen.train) == {name}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002", "train"),
        ("nq_dev", "validation"),
        ("hotpot.dev.distractor.v1", "validation"),
        ("Test", "test"),
        ("2024-eval", "validation"),
        ("nqTrain", "train"),
        ("trainset", "train"),
        ("devData2", "validation"),
        ("nq_test_set", "test"),
        ("test_sft", "test"),
        ("trn", "train"),
        ("测试集", "test"),
        ("contest_latest", None),
        ("retrained", None),
        ("step2_doc-structuring", None),
        ("evaluating", None),
    ],
)
def test_a_split_is_named_in_a_word_of_its_own(name: str, split: str | None) -> None:
    assert split_named_in(name) == split


def test_a_name_with_two_splits_is_refused() -> None:
    with pytest.raises(DataError, match=r"more than one split \(test, train\); rename it"):
        split_named_in("train_test")


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "nq", a=3)
    (folder / "more.xlsx").write_bytes(b"PK")
    (folder / "README.md").write_text("about")
    (folder / "a.jsonl.gz").write_bytes(b"the same, packed")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "a.jsonl").write_text("old")
    source = open_source(str(folder), "train")
    assert len(source.examples(None)) == 3
    assert source.notes() == [
        f"{folder}: not read: README.md, a.jsonl.gz (its unpacked form is beside it), more.xlsx"
    ]


@pytest.mark.parametrize("names", [("nqTrain", "nqDev", "nqTest"), ("train1", "dev1", "test1")])
def test_parts_of_one_data_set_share_its_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = write(tmp_path / "nq", **dict.fromkeys(names, 8))
    loaded = data.load(lab.make_config(tmp_path, dataset=str(folder)))
    assert asked(loaded.train) == {names[0]}
    assert {e.dataset for e in (*loaded.train, *loaded.validation)} == {"nq"}


def test_linked_folders_are_read_and_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    write(tmp_path / "shared", train=8, test=4)
    folder = write(tmp_path / "all", hq__train=8)
    (folder / "nq").symlink_to(tmp_path / "shared")
    (folder / "hq" / "up").symlink_to(folder)
    config = lab.make_config(tmp_path, dataset=str(folder))
    assert asked(data.load(config).train) == {"train", "hq__train"}
    assert asked(data.load_test(config)) == {"test"}
    (folder / "dev.jsonl").symlink_to("/nowhere.jsonl")
    with pytest.raises(DataError, match=r"dev\.jsonl: is a link to /nowhere\.jsonl, which is not"):
        data.load(config)


def test_the_same_records_are_not_read_twice(tmp_path: Path) -> None:
    nq = write(tmp_path / "nq", train=8)
    for value in (f"{nq}/train.jsonl,{nq}/train.jsonl", f"{nq},{nq}/train.jsonl"):
        with pytest.raises(DataError, match="would both be read"):
            data.load(lab.make_config(tmp_path, dataset=value))
    (nq / "train.csv").write_text("question,golden_answers\nq,a\n")
    with pytest.raises(DataError, match=r"train\.jsonl and .*train\.csv would both be read"):
        data.load(lab.make_config(tmp_path, dataset=str(nq)))


def test_a_split_in_a_form_that_is_not_read_is_not_replaced(tmp_path: Path) -> None:
    nq = write(tmp_path / "nq", train=16)
    (nq / "test.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"test\.xlsx: its name says a split"):
        data.load(lab.make_config(tmp_path, dataset=str(nq)))


def test_a_saved_data_set_is_its_splits(tmp_path: Path) -> None:
    import datasets

    parts = {
        name: datasets.Dataset.from_list([qa(f"{name} {i}") for i in range(8)])
        for name in ("train_sft", "test_sft")
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "all" / "nq"))
    config = lab.make_config(tmp_path, dataset=str(tmp_path / "all" / "nq"))
    assert asked(data.load(config).train) == {"train_sft"}
    assert asked(data.load_test(config)) == {"test_sft"}
    with pytest.raises(DataError, match="that `datasets` saved; name it itself"):
        data.load(lab.make_config(tmp_path, dataset=str(tmp_path / "all")))
    datasets.DatasetDict({"test_sft": parts["test_sft"]}).save_to_disk(str(tmp_path / "alone"))
    with pytest.raises(DataError, match="has the splits test and none named train"):
        data.load(lab.make_config(tmp_path, dataset=str(tmp_path / "alone")))


def test_the_same_question_in_two_splits_is_counted_apart_from_case_and_space(
    tmp_path: Path,
) -> None:
    lab.write_lines(tmp_path / "train.jsonl", [qa("Who  was it?"), qa("b")])
    lab.write_lines(tmp_path / "dev.jsonl", [qa("who was IT?"), qa("c"), qa("d")])
    config = lab.make_config(
        tmp_path, dataset=f"{tmp_path}/train.jsonl,{tmp_path}/dev.jsonl", test_fraction=0
    )
    assert data.load(config).shared_prompts == 1
