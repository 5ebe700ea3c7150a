"""The checks of `make gpu`: on a GPU where there is one, and their code on a CPU everywhere."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agent.config.shared_devices import AGENTS_PER_GPU
from agent.log_noise import quieten_libraries
from agent.training import base_model
from agent.training.bases import checks
from tests.tools.gpu import __main__ as program
from tests.tools.gpu import worker
from tests.tools.gpu.checks import CHECKS
from tests.tools.gpu.lab import SIZES, Lab

ON_THE_CPU = [name for name in CHECKS if name != "two_workers"]  # its worker is tested by itself


def make_lab(root: Path, device: str, size: str) -> Lab:
    quieten_libraries()
    lab = Lab(root, torch.device(device), SIZES[size])
    lab.prepare()
    return lab


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return make_lab(tmp_path_factory.mktemp("tiny"), "cpu", "tiny")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return make_lab(tmp_path_factory.mktemp("full"), "cuda", "1.5b")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("check", CHECKS)
def test_on_a_gpu(full: Lab, check: str) -> None:
    figures = CHECKS[check](full)
    assert figures["passed"], figures


@pytest.mark.slow
@pytest.mark.xdist_group("gpu checks")
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*deprecated")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*deprecated")
@pytest.mark.parametrize("check", ON_THE_CPU)
def test_the_code_of_a_check_runs_on_a_cpu(tiny: Lab, check: str) -> None:
    figures = CHECKS[check](tiny)
    assert figures["passed"], figures


@pytest.mark.parametrize("size", list(SIZES))
def test_the_model_of_every_size_is_one_that_is_taken(tmp_path: Path, size: str) -> None:
    """Its vocabulary and shape; the layers' number and width are left out."""
    small = {**SIZES["tiny"].shape, "vocab_size": SIZES[size].shape["vocab_size"]}
    lab = Lab(tmp_path, torch.device("cpu"), replace(SIZES[size], shape=small))
    lab.prepare()
    tokenizer = base_model.load_tokenizer(lab.model)
    checks.check_vocabulary(lab.model, tokenizer, int(str(small["vocab_size"])))
    assert len(tokenizer) == small["vocab_size"]


@pytest.mark.xdist_group("gpu checks")
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*deprecated")
def test_a_worker_of_two_prints_a_cost_with_its_share(
    tiny: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tiny.records("worker", [tiny.size.short] * 6, answer=8)
    config = tiny.config(data, store=str(tiny.root / "worker"))
    tiny.training(config)  # FLOPs are counted before
    point = tiny.root / "worker.json"
    point.write_text(json.dumps(config.model_dump(mode="json")))
    monkeypatch.setenv(AGENTS_PER_GPU, "2")
    worker.main(point)
    cost = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert cost["device_seconds"] == pytest.approx(cost["train_seconds"] / 2)


def test_without_a_gpu_it_says_how_to_run_the_same_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert program.main([]) == 2
    assert "--device cpu --size tiny runs the same code" in capsys.readouterr().err
    assert program.main(["speeed"]) == 2
    assert "unknown check 'speeed'; known: cells" in capsys.readouterr().err


def test_a_check_that_fails_is_a_line_and_the_others_still_run(
    tiny: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Lab) -> dict[str, object]:
        raise ValueError("no such kernel")

    def fine(_: Lab) -> dict[str, object]:
        return {"passed": True}

    monkeypatch.setattr(program, "CHECKS", {"first": fail, "second": fine})
    program.run(tiny)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["check"], line["passed"]) for line in lines] == [
        ("first", False),
        ("second", True),
    ]
    assert lines[0]["error"] == "ValueError: no such kernel"
    assert lines[0]["card"] == "cpu"
