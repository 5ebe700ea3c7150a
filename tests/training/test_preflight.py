"""One look at base, tokenizer and data together, before anything is paid for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from agent.config.run_config import RunConfig
from agent.errors import DataError
from agent.training import base_model, data, preflight
from agent.training.evaluation_points import Training
from tests.processes import run_python
from tests.training import families, lab

ROOT = Path(__file__).parents[2]


def qa(prompt: str, answer: str = "x", **values: Any) -> dict[str, Any]:
    return {"question": prompt, "golden_answers": [answer], **values}


def write(folder: Path, train: list[dict[str, Any]], dev: list[dict[str, Any]]) -> str:
    folder.mkdir(parents=True)
    lab.write_lines(folder / "train.jsonl", train)
    lab.write_lines(folder / "dev.jsonl", dev)
    return str(folder)


def strict(root: Path, **values: Any) -> RunConfig:
    """A config with the share that ships."""
    share = RunConfig.model_fields["max_left_out_share"].default
    return lab.make_config(root, max_left_out_share=share, test_fraction=0, **values)


def test_counts_and_a_prompt_of_each_task_are_reported(tmp_path: Path) -> None:
    found = preflight.examine(lab.make_config(tmp_path))
    assert "query_analysis: 10 of 10 examples trained, 4 scored" in "\n".join(found.lines)
    shown = [line for line in found.lines if line.startswith("a prompt of ")]
    assert len(shown) == 3
    assert all("<|user|>" in line and "answered" in line for line in shown)
    assert found.facts["data/trained_query_analysis"] == 10


def test_over_long_examples_are_counted_for_each_task(tmp_path: Path) -> None:
    long = " ".join(["word"] * 200)
    dataset = write(
        tmp_path / "nq",
        [*(qa(f"q{i}") for i in range(5)), *(qa(f"{long} {i}") for i in range(3))],
        [qa("v"), qa(f"{long} v"), qa("w", "a very long answer " * 6)],
    )
    found = preflight.examine(lab.make_config(tmp_path, dataset=dataset, test_fraction=0))
    facts = {name: found.facts[f"data/{name}_qa"] for name in ("trained", "too_long", "scored")}
    assert facts == {"trained": 5, "too_long": 3, "scored": 2}
    assert found.facts["data/cut_qa"] == 1
    line = next(line for line in found.lines if line.startswith("qa: 5 of 8"))
    assert "(3 exceed max_length, the longest has" in line
    assert line.endswith("2 scored (1 too long), 1 answers exceed max_new_tokens")


def test_a_task_of_which_most_would_be_left_out_is_refused(tmp_path: Path) -> None:
    long = " ".join(["word"] * 200)
    rows = [*(qa(f"q{i}") for i in range(2)), *(qa(f"{long} {i}") for i in range(8))]
    dataset = write(tmp_path / "nq", rows, [qa("v")])
    with pytest.raises(DataError, match=r"2 of 10 examples trained .* max_left_out_share = 0\.1"):
        preflight.examine(strict(tmp_path, dataset=dataset))
    config = lab.make_config(tmp_path, dataset=dataset, max_left_out_share=0.9, test_fraction=0)
    assert preflight.examine(config).facts["data/too_long_qa"] == 8


def test_validation_prompts_that_are_trained_on_are_shown_and_refused(tmp_path: Path) -> None:
    rows = [qa(f"q{i}") for i in range(10)]
    few = write(tmp_path / "few", rows, [qa("Q1"), qa("v"), qa("w")])
    found = preflight.look_at_data(lab.make_config(tmp_path, dataset=few))
    assert any(
        "1 of 3 validation prompts are trained on too: dev:1" in line for line in found.lines
    )
    many = write(tmp_path / "many", rows, [qa("q1"), qa("q2"), qa("w")])
    with pytest.raises(DataError, match=r"2 of 3 validation .* max_shared_share = 0\.5"):
        preflight.look_at_data(lab.make_config(tmp_path, dataset=many))


def test_a_document_in_two_splits_is_counted_and_an_instruction_is_not(tmp_path: Path) -> None:
    instruction, document = "Answer from the text. " * 12, "The harbour lies in the north. " * 12
    train = [qa(f"{instruction}\n{number} {document}\nq{number}") for number in range(8)]
    dev = [qa(f"{instruction}\n1 {document}\nanother"), qa(f"{instruction}\nnew\nq")]
    config = lab.make_config(tmp_path, dataset=write(tmp_path / "nq", train, dev))
    found = preflight.look_at_data(config)
    assert found.facts["data/shared_documents"] == 1


@pytest.mark.parametrize("change", [str.upper, lambda q: f" {q}?", lambda q: f"“{q}”"])
def test_a_question_is_the_same_apart_from_its_dress(tmp_path: Path, change: Any) -> None:
    rows = [qa(f"who built q{i}") for i in range(10)]
    dev = [qa(change("who built q1")), qa("v"), qa("w")]
    found = preflight.look_at_data(
        lab.make_config(tmp_path, dataset=write(tmp_path / "nq", rows, dev))
    )
    assert found.data.shared_prompts == 1


def test_what_the_test_split_shares_is_found_before_a_sweep_and_refused(tmp_path: Path) -> None:
    rows = [qa(f"q{i}", document_id=f"d{i}") for i in range(10)]
    dataset = write(tmp_path / "nq", rows, [qa("v"), qa("w")])
    test = tmp_path / "nq" / "test.jsonl"
    lab.write_lines(test, [qa("q1"), qa("V"), qa("x"), qa("y", document_id="d3")])
    config = lab.make_config(tmp_path, dataset=dataset)
    lines = "\n".join(preflight.look_at_data(config).lines)
    assert "1 of 4 test prompts are trained on too: test:1, which begins 'q1'" in lines
    assert "1 of 4 test prompts are in validation too: test:2" in lines
    assert "2 of 4 test examples have a document" not in lines
    assert "1 of 4 test examples have a document that is trained on too: test:4" in lines
    lab.write_lines(test, [qa("q1"), qa("q2"), qa("x")])
    with pytest.raises(DataError, match=r"2 of 3 test prompts .* max_shared_share = 0\.5"):
        preflight.look_at_data(config)
    assert preflight.look_at_data(config, with_test=False).data.train


def test_shared_documents_are_refused_above_the_share(tmp_path: Path) -> None:
    rows = [qa(f"q{i}", document_id=f"d{i % 3}") for i in range(10)]
    dev = [qa(f"v{i}", document_id=f"d{i}") for i in range(4)]
    dataset = write(tmp_path / "nq", rows, dev)
    with pytest.raises(DataError, match=r"3 of 4 validation examples have a document .*share = 0"):
        preflight.look_at_data(lab.make_config(tmp_path, dataset=dataset))
    found = preflight.look_at_data(lab.make_config(tmp_path, dataset=dataset, max_shared_share=1))
    assert found.facts["data/shared_documents"] == 3


def test_a_task_that_is_scored_and_not_trained_is_refused(tmp_path: Path) -> None:
    rows = [{"instruction": f"q{i}", "output": "a" if i % 2 else "['a']"} for i in range(8)]
    dev = [{"instruction": f"v{i}", "output": "['a']"} for i in range(4)]
    config = strict(tmp_path, dataset=write(tmp_path / "own", rows, dev))
    with pytest.raises(DataError, match=r"dev:1 is of the task global_selection, .* \(only qa\)"):
        preflight.look_at_data(config)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = families.make_base(tmp_path / "base", "Llama")
    families.set_config(folder, vocab_size=500)
    with pytest.raises(DataError, match="has 500 rows of embedding; the tokenizer is another"):
        preflight.examine(lab.make_config(tmp_path, base_model=str(folder)))


def test_a_prompt_that_cannot_be_written_names_its_example(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(lab.BASE_MODEL, base)
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{{ raise_exception('no') }}"
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    dataset = write(tmp_path / "nq", [qa(f"q{i}", id=f"n{i}") for i in range(3)], [qa("v")])
    with pytest.raises(DataError, match=r"example n0: a prompt of user cannot be written .*: no;"):
        preflight.examine(lab.make_config(tmp_path, base_model=str(base), dataset=dataset))


def test_a_base_that_was_right_is_loaded_once_and_a_wrong_one_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Path] = []
    plain = base_model.load

    def load(config: RunConfig, path: Path, *rest: Any) -> base_model.Base:
        loads.append(path)
        return plain(config, path, *rest)

    monkeypatch.setattr(base_model, "load", load)
    config = lab.make_config(tmp_path)
    checked = preflight.check_weights(config, torch.device("cpu"))
    assert preflight.check_weights(config, torch.device("cpu")) is None
    training = Training(config, data.load(config), base=checked)
    assert training.holds_base
    assert training.base is checked
    assert len(loads) == 1
    base = tmp_path / "base"
    shutil.copytree(lab.BASE_MODEL, base)
    tensors = load_file(str(base / "model.safetensors"))
    tensors.pop("model.norm.weight")
    save_file(tensors, str(base / "model.safetensors"), {"format": "pt"})
    wrong = lab.make_config(tmp_path, base_model=str(base))
    for _ in range(2):
        with pytest.raises(DataError, match="are missing"):
            preflight.check_weights(wrong, torch.device("cpu"))
    assert len(loads) == 3


def test_check_looks_at_each_data_set_once(tmp_path: Path) -> None:
    good = lab.make_config(tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"output": 1}\n')
    bad = lab.make_config(tmp_path, dataset=str(tmp_path / "bad.jsonl"))
    hub = lab.make_config(tmp_path, dataset="team/data:part")
    lines, problems = preflight.check_local_data([good, good, bad, bad, hub])
    assert sum(" validation examples" in line for line in lines) == 3
    counts = [line for line in lines if "exceed max_length" in line]
    assert [line.partition(":")[0] for line in counts] == [
        "document_structuring",
        "global_selection",
        "query_analysis",
    ]
    assert "0 of 14 examples exceed max_length = 128 (the longest has 9" in counts[0]
    assert "4 of 4 validation answers max_new_tokens = 16 (2" in counts[0]
    assert counts[0].endswith("counted without the chat template")
    assert lines[-1].startswith("team/data:part: on the hub")
    (problem,) = problems
    assert "bad.jsonl:1: instruction is None" in problem


def test_check_shows_prompts_and_counts_as_the_base_reads_them(tmp_path: Path) -> None:
    here = lab.make_config(tmp_path, max_new_tokens=40)
    lines, problems = preflight.check_local_data([here])
    assert not problems
    assert "query_analysis: 10 of 10 examples trained, 4 scored" in lines
    assert sum(line.startswith("a prompt of ") for line in lines) == 3
    empty = tmp_path / "base"
    shutil.copytree(lab.BASE_MODEL, empty)
    (empty / "model.safetensors").unlink()
    _, problems = preflight.check_local_data(
        [here, here.model_copy(update={"base_model": str(empty)})]
    )
    (problem,) = problems
    assert "holds no weights" in problem


def test_text_that_the_tokenizer_cannot_write_is_counted_and_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(lab.BASE_MODEL, base)
    tokenizer = base_model.load_tokenizer(base)
    tokenizer.unk_token = tokenizer.decode(tokenizer("z", add_special_tokens=False)["input_ids"])
    tokenizer.save_pretrained(str(base))
    rows = [qa("z" if i < 2 else f"q{i}") for i in range(10)]
    dataset = write(tmp_path / "nq", rows, [qa("v")])
    values = {"base_model": str(base), "test_fraction": 0, "max_left_out_share": 0.5}
    found = preflight.examine(lab.make_config(tmp_path, dataset=dataset, **values))
    assert any("2 hold text that the tokenizer cannot write" in line for line in found.lines)
    rows = [qa("z" * (i + 1)) for i in range(10)]
    dataset = write(tmp_path / "other", rows, [qa("v")])
    with pytest.raises(DataError, match="cannot write; that is more than max_left_out_share"):
        preflight.examine(lab.make_config(tmp_path, dataset=dataset, **values))


def test_the_command_prints_what_it_found_or_one_sentence(tmp_path: Path) -> None:
    point = tmp_path / "point.json"
    words = ("-m", "agent.training.preflight", str(point))
    config = lab.make_config(tmp_path)
    point.write_text(json.dumps(config.model_dump(mode="json")))
    assert "a prompt of query_analysis" in run_python(*words).stdout
    values = {**config.model_dump(mode="json"), "max_length": 900}
    point.write_text(json.dumps(values))
    done = run_python(*words, status=2)
    assert "max_length = 900 is beyond the 512 positions" in done.stderr
    assert "Traceback" not in done.stderr
