"""What `probe` measures a cell on: the longest records of those that training keeps."""

import json
from pathlib import Path

import pytest

from agent.cluster.submit import probe
from agent.config.run_config import RunConfig
from agent.errors import DataError
from agent.programs import longest_records
from agent.training import base_model, data
from agent.training.evaluation_points import Training
from tests.training import lab

ROOT = Path(__file__).resolve().parents[2]


def tokens_of(config: RunConfig) -> list[int]:
    tokenizer = base_model.load_tokenizer(lab.BASE_MODEL)
    examples = data.load(config).train
    return sorted(r.whole for r in longest_records.measure(tokenizer, examples, config))


def test_the_longest_that_max_length_admits_are_written_and_read_back(tmp_path: Path) -> None:
    lengths = tokens_of(lab.make_config(tmp_path))
    limit = lengths[len(lengths) // 2]  # half of the records are too long to be trained on
    config = lab.make_config(tmp_path, max_length=limit)
    longest_records.write_longest(config, tmp_path / "out", train=6, validation=4)
    out = tmp_path / "out"
    chosen = lab.make_config(
        tmp_path,
        dataset=str(out / "train"),
        validation_dataset=str(out / "validation"),
        test_fraction=0.0,
        max_length=limit,
    )
    assert tokens_of(chosen) == [n for n in lengths if n <= limit][-6:]
    counts = json.loads((out / "counts.json").read_text())
    assert counts["train"] == sum(n <= limit for n in lengths)
    read = data.load(chosen)
    assert len(read.validation) == 4
    known = {(e.task, e.dataset, e.messages, e.answers[:1]) for e in data.load(config).train}
    assert {(e.task, e.dataset, e.messages, e.answers) for e in read.train} <= known
    assert len(Training(chosen, read).plan.lengths) == 6  # training keeps all of them


def test_fewer_records_than_are_wanted_repeat(tmp_path: Path) -> None:
    config = lab.make_config(tmp_path, eval_examples=3)
    longest_records.write_longest(config, tmp_path / "out", train=200, validation=8)
    for name, count in (("train", 200), ("validation", 8)):
        lines = (tmp_path / "out" / name / "records.jsonl").read_text().splitlines()
        assert len(lines) == count


def test_line_separators_of_unicode_stay_inside_their_record(tmp_path: Path) -> None:
    odd = "a\u2028 \u2029 \x85 \x0b \x0c b"
    rows = [{"instruction": odd, "input": str(i), "output": "yes"} for i in range(12)]
    path = lab.write_lines(tmp_path / "rows.jsonl", rows)
    config = lab.make_config(tmp_path, dataset=str(path), max_length=512)
    longest_records.write_longest(config, tmp_path / "out", train=3, validation=2)
    read = data.read(str(tmp_path / "out" / "train"))
    assert [odd in example.messages[-1][1] for example in read] == [True] * 3


def test_where_nothing_fits_it_says_what_to_raise(tmp_path: Path) -> None:
    config = lab.make_config(tmp_path, max_length=9, max_new_tokens=1)
    with pytest.raises(DataError, match="no train example fits into max_length = 9 tokens"):
        longest_records.write_longest(config, tmp_path / "out", train=2, validation=2)


def test_probe_measures_a_cell_whose_longest_records_are_too_long(tmp_path: Path) -> None:
    """With the real programs."""
    lengths = tokens_of(lab.make_config(tmp_path))
    config = lab.make_config(
        tmp_path, max_length=lengths[len(lengths) // 2], batch_size=2, eval_batch_size=2
    )
    measured = probe.measure(config, ROOT / "train.py")
    assert measured.step_s > 0
    assert measured.train_records == sum(n <= config.max_length for n in lengths)
