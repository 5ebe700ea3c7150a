"""The command line of train.py."""

import json
from pathlib import Path

import pytest

from agent.config.cli_options import build_parser, read_point
from agent.config.run_config import RunConfig
from agent.errors import ConfigError
from tests.processes import run_python

ROOT = Path(__file__).resolve().parents[2]
POINT = {"model_variant": "QLoRA", "quantization_strategy": "int8", "learning_rate": 1e-4}


def test_a_person_and_an_agent_give_the_same_config(tmp_path: Path) -> None:
    file = tmp_path / "point.json"
    file.write_text(json.dumps({**POINT, "dataset": "d"}))
    typed = "--model_variant QLoRA --quantization-strategy int8 --learning_rate=1e-4 --dataset d"
    from_file = RunConfig.parse(read_point(["--config", str(file)]))
    assert from_file == RunConfig.parse(read_point(typed.split()))


def test_options_beside_a_file_win(tmp_path: Path) -> None:
    file = tmp_path / "point.json"
    file.write_text(json.dumps({**POINT, "dataset": "d"}))
    config = RunConfig.parse(read_point(["--config", str(file), "--learning_rate", "2e-4"]))
    assert config.learning_rate == 2e-4


def test_unknown_options_are_reported_with_the_other_faults() -> None:
    words = ["--model_variant", "QLoRA", "--learning_rate", "0", "--dataset", "d"]
    words += ["--epoch", "3", "stray"]
    with pytest.raises(ConfigError, match="4 problems") as caught:
        RunConfig.parse(read_point(words))
    message = str(caught.value)
    for part in ("learning_rate = '0'", "did you mean 'epochs'?", "'stray'", "cannot be combined"):
        assert part in message


@pytest.mark.parametrize("content", ["{", "[]", '"x"'])
def test_a_config_file_that_is_no_object_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "point.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"point\.json"):
        read_point(["--config", str(file)])


def test_help_explains_every_field_with_its_default() -> None:
    text = build_parser().format_help()
    for name, field in RunConfig.model_fields.items():
        assert f"--{name}" in text
        assert (field.description or "missing").split()[0] in text
    assert "in tokens" in " ".join(text.split())
    assert "default 0.1" in " ".join(text.split())
    assert "QLoRA" in text


def test_train_py_refuses_a_bad_point_before_any_model_library_is_loaded() -> None:
    code = (
        "import sys, train\n"
        "status = train.main(['--model_variant', 'QLoRA', '--learning_rate', '0'])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(status)"
    )
    done = run_python("-c", code, status=2)
    assert "3 problems in the grid point" in done.stderr
    assert "Traceback" not in done.stderr
