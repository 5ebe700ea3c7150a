"""The layers that answer many prompts on a CPU give the bits of those they stand for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from agent.config import variants
from agent.evaluation import cpu_layers, deployments
from agent.training import base_model as bases
from agent.training.adapters import SETTINGS
from agent.training.base_model import Base
from agent.training.bases.linear_layers import QUANTISED, QUANTISERS
from tests.training import lab
from tests.training.conftest import Finished

QUANTISED_CELLS = [cell for cell in lab.CELLS if cell[1] != "None"]


@pytest.fixture(scope="module")
def adapter(undisturbed: Finished) -> Path:
    return undisturbed.places[-1] / "adapter"


def load(root: Path, precision: Any, **values: Any) -> Base:
    config = lab.make_config(root, **values)
    return bases.load(config, lab.BASE_MODEL, precision, torch.device("cpu"))


@torch.inference_mode()
def logits(model: Any, rows: int) -> torch.Tensor:
    ids = torch.randint(5, 900, (rows, 17), generator=torch.Generator().manual_seed(rows))
    found: torch.Tensor = model(input_ids=ids).logits
    return found


def scaled_copy(adapter: Path, folder: Path, alpha: int) -> Path:
    shutil.copytree(adapter, folder)
    settings = json.loads((adapter / SETTINGS).read_text())
    scale = settings["r"] / 8
    (folder / SETTINGS).write_text(json.dumps({**settings, "lora_alpha": alpha * scale}))
    return folder


def hastened_layers(model: nn.Module) -> list[nn.Module]:
    return [layer for layer in model.modules() if "forward" in layer.__dict__]


@pytest.mark.parametrize(("variant", "strategy"), QUANTISED_CELLS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(
    "alpha", [16, 24]
)  # over rank 8: a scaling that is a power of two, and one that is not
def test_a_deployment_says_the_same_with_faster_layers(
    tmp_path: Path, adapter: Path, variant: str, strategy: str, dtype: str, alpha: int
) -> None:
    row = variants.find(variant, strategy)
    base = load(tmp_path, row.training_precision, compute_dtype=dtype)
    model = deployments.deploy(base, scaled_copy(adapter, tmp_path / "adapter", alpha), row)
    expected = [logits(model, rows) for rows in (1, 9)]
    of_base = logits(base.model, 3)
    cpu_layers.hasten(model)
    layers = sum(isinstance(layer, QUANTISED) for layer in model.modules())
    assert len(hastened_layers(model)) == layers * (2 if variant == "QLoRA" else 1)
    for rows, wanted in zip((1, 9), expected, strict=True):
        assert torch.equal(logits(model, rows), wanted)
    assert hastened_layers(base.model) == []
    assert torch.equal(logits(base.model, 3), of_base)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("method", list(QUANTISERS))
def test_a_layer_has_the_same_bits_whatever_it_reads(
    method: str, has_bias: bool, dtype: torch.dtype
) -> None:
    """Outliers, which LLM.int8 keeps apart, and rows of zeros among it."""
    generator = torch.Generator().manual_seed(0)
    plain = nn.Linear(96, 160, bias=has_bias)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    layer = QUANTISERS[method](plain.to(dtype)).eval()
    layer.__dict__["support_avx512bf16_for_cpu"] = False
    model = nn.Sequential(layer)
    usual = torch.randn(2, 40, 96, generator=generator).clamp(-5, 5).to(dtype)
    loud, silent = usual.clone(), usual.clone()
    loud[0, 3, 7], loud[1, :4, 90], loud[1, 39, 7] = 6.0, -30.0, 100.0
    silent[:, 5] = 0
    wild = loud.clone()
    wild[1, 7, 11], wild[1, 8, 12] = torch.inf, torch.nan
    inputs = [usual, loud, loud[0], loud[:1, 3], loud[:1, 3:4], silent, wild, usual[:, :0]]
    with torch.inference_mode():
        expected = [model(x.clone()) for x in inputs]
        cpu_layers.hasten(model)
        assert len(hastened_layers(model)) == 1
        for x, wanted in zip(inputs, expected, strict=True):
            kept = x.clone()
            found = model(x)
            torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)
            torch.testing.assert_close(x, kept, rtol=0, atol=0, equal_nan=True)


def test_large_models_keep_their_weights_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = deployments.deploy(load(tmp_path, "nf4"), None, variants.find("QLoRA", "int4"))
    monkeypatch.setattr(cpu_layers, "HELD_BYTES", 1000)
    cpu_layers.hasten(model)
    assert hastened_layers(model) == []


def test_adapters_of_other_kinds_keep_their_own_forward(tmp_path: Path) -> None:
    base = load(tmp_path, "nf4")
    settings = LoraConfig(r=4, target_modules="all-linear", use_dora=True, task_type="CAUSAL_LM")
    model: Any = get_peft_model(base.model, settings).eval()
    expected = logits(model, 2)
    cpu_layers.hasten(model)
    adapted = [layer for layer in model.modules() if hasattr(layer, "lora_A")]
    assert adapted
    assert not any("forward" in layer.__dict__ for layer in adapted)
    assert torch.equal(logits(model, 2), expected)
