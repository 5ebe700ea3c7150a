"""Each deployment gives what PEFT and transformers give for it, bit for bit, and harms no base."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from agent.config import variants
from agent.evaluation import deployments, model_artifact
from agent.training import base_model as bases
from agent.training.base_model import Base, keep_four_bit_layout, quantization_config
from tests.training import lab
from tests.training.conftest import Finished

IDS = torch.tensor([[5, 17, 30, 8, 250, 2, 9, 11]])


def load_base(root: Path, precision: Any, dtype: str = "bfloat16") -> Base:
    config = lab.make_config(root, compute_dtype=dtype)
    return bases.load(config, lab.BASE_MODEL, precision, torch.device("cpu"))


def reference(precision: Any, dtype: torch.dtype, path: Path = lab.BASE_MODEL) -> Any:
    """What transformers makes of a checkpoint, with the attention kernel that ours has here."""
    model = AutoModelForCausalLM.from_pretrained(
        str(path),
        dtype=dtype,
        quantization_config=quantization_config(precision, dtype),
        attn_implementation="eager",
    )
    keep_four_bit_layout(model)
    return model.eval()


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


def contents(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def differing(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> list[str]:
    assert set(first) == set(second)
    return [name for name in first if not torch.equal(first[name], second[name])]


@pytest.fixture(scope="module")
def adapter(undisturbed: Finished) -> Path:
    return undisturbed.places[-1] / "adapter"


DTYPES = [("bfloat16", torch.bfloat16), ("float32", torch.float32)]


@pytest.mark.parametrize(("name", "dtype"), DTYPES)
def test_merged_is_what_peft_merges(
    tmp_path: Path, adapter: Path, name: str, dtype: torch.dtype
) -> None:
    base = load_base(tmp_path, "16bit", name)
    before = contents(base.model)
    served = deployments.deploy(base, adapter, variants.find("Full LoRA", "None"))
    merged = PeftModel.from_pretrained(reference("16bit", dtype), str(adapter)).merge_and_unload()
    assert differing(contents(served), contents(merged)) == []
    assert torch.equal(logits(served), logits(merged))
    assert differing(contents(base.model), before) == []


@pytest.mark.parametrize(("strategy", "precision"), [("int4", "nf4"), ("int8", "llm_int8")])
@pytest.mark.parametrize(("name", "dtype"), DTYPES)
def test_merged_then_quantised_is_what_transformers_quantises(
    tmp_path: Path, adapter: Path, strategy: str, precision: str, name: str, dtype: torch.dtype
) -> None:
    base = load_base(tmp_path, "16bit", name)
    before = contents(base.model)
    served = deployments.deploy(base, adapter, variants.find("LoRA+PTQ", strategy))
    merged = PeftModel.from_pretrained(reference("16bit", dtype), str(adapter)).merge_and_unload()
    merged.save_pretrained(str(tmp_path / "merged"))
    expected = reference(precision, dtype, tmp_path / "merged")
    assert differing(contents(served), contents(expected)) == []
    assert torch.equal(logits(served), logits(expected))
    assert deployments.model_size_gb(served) == deployments.model_size_gb(expected)
    assert differing(contents(base.model), before) == []


@pytest.mark.parametrize(("strategy", "precision"), [("int4", "nf4"), ("int8", "llm_int8")])
@pytest.mark.parametrize(("name", "dtype"), DTYPES)
def test_quantised_base_with_adapter_is_what_peft_attaches(
    tmp_path: Path, adapter: Path, strategy: str, precision: str, name: str, dtype: torch.dtype
) -> None:
    base = load_base(tmp_path, precision, name)
    served = deployments.deploy(base, adapter, variants.find("QLoRA", strategy))
    before = contents(base.model)
    expected = PeftModel.from_pretrained(reference(precision, dtype), str(adapter)).eval()
    assert torch.equal(logits(served), logits(expected))
    assert differing(contents(base.model), before) == []


@pytest.mark.parametrize(("strategy", "precision"), [("int4", "nf4"), ("int8", "llm_int8")])
def test_the_untouched_base_is_served_in_the_same_form(
    tmp_path: Path, strategy: str, precision: str
) -> None:
    plain, quantised = load_base(tmp_path, "16bit"), load_base(tmp_path, precision)
    by_ptq = deployments.deploy(plain, None, variants.find("LoRA+PTQ", strategy))
    by_qlora = deployments.deploy(quantised, None, variants.find("QLoRA", strategy))
    expected = logits(reference(precision, torch.bfloat16))
    assert torch.equal(logits(by_ptq), expected)
    assert torch.equal(logits(by_qlora), expected)


@pytest.mark.parametrize(("variant", "strategy"), lab.CELLS)
def test_deploying_beside_a_training_changes_neither(
    tmp_path: Path, adapter: Path, variant: str, strategy: str
) -> None:
    from agent.training import adapters

    row = variants.find(variant, strategy)
    config = lab.make_config(tmp_path, model_variant=variant, quantization_strategy=strategy)
    base = bases.load(config, lab.BASE_MODEL, row.training_precision, torch.device("cpu"))
    alone = logits(deployments.deploy(base, adapter, row))
    training = adapters.attach(base.model, config)
    adapters.restore(training, adapter)
    before, expected = contents(training.eval()), logits(training)
    assert torch.equal(logits(deployments.deploy(base, adapter, row)), alone)
    assert differing(contents(training), before) == []
    assert torch.equal(logits(training), expected)


def test_four_bit_weights_train_validate_and_train_again(tmp_path: Path) -> None:
    """bitsandbytes repacks them for good at the first forward pass without gradients on CPUs with
    AVX512-BF16, and training fails afterwards."""
    values = {"model_variant": "QLoRA", "quantization_strategy": "int4", "epochs": 2}
    training = lab.open_training(tmp_path, values)
    packed = {n: p.clone() for n, p in training.base.model.named_parameters()}
    seen = []
    for point in training.points():
        served = deployments.deploy(training.base, point.adapter, training.config.variant)
        seen.append(logits(served))
    assert len(seen) == 2
    modules: Any = training.base.modules
    for name, value in packed.items():
        module, _, parameter = name.rpartition(".")
        assert torch.equal(getattr(modules[module], parameter), value)
    again = deployments.deploy(load_base(tmp_path, "nf4"), point.adapter, training.config.variant)
    assert torch.equal(logits(again), seen[-1])


# ------------------------------------------------------------------ what it weighs
def test_sizes_are_those_of_the_weights_as_served(tmp_path: Path, adapter: Path) -> None:
    base = load_base(tmp_path, "16bit")
    served = deployments.deploy(base, adapter, variants.find("Full LoRA", "None"))
    unique = {p.data_ptr(): p.nbytes for p in reference("16bit", torch.bfloat16).parameters()}
    rotary = sum(b.nbytes for b in base.model.buffers())
    assert deployments.model_size_gb(served) * 1e9 == sum(unique.values()) + rotary

    settings = base.model.config
    linears = [m for n, m in base.modules.items() if type(m) is torch.nn.Linear and n != "lm_head"]
    weights = sum(m.weight.numel() for m in linears)
    rest = sum(unique.values()) + rotary - 2 * weights
    int8 = deployments.deploy(base, adapter, variants.find("LoRA+PTQ", "int8"))
    rows = sum(m.out_features for m in linears)
    assert deployments.model_size_gb(int8) * 1e9 == rest + weights + 4 * rows
    nf4 = deployments.deploy(base, adapter, variants.find("LoRA+PTQ", "int4"))
    packed = deployments.model_size_gb(nf4) * 1e9 - rest
    # A half byte a weight, a byte of scale for 64 weights, and small constants for each layer.
    assert weights / 2 + weights / 64 < packed < weights / 2 + weights / 64 + 4096 * len(linears)
    assert settings.tie_word_embeddings  # the head is counted once


def test_a_quantised_base_weighs_its_adapter_too(tmp_path: Path, adapter: Path) -> None:
    base = load_base(tmp_path, "nf4")
    row = variants.find("QLoRA", "int4")
    bare = deployments.model_size_gb(deployments.deploy(base, None, row))
    served = deployments.model_size_gb(deployments.deploy(base, adapter, row))
    from safetensors.torch import load_file

    own = sum(t.nbytes for t in load_file(adapter / "adapter_model.safetensors").values())
    assert (served - bare) * 1e9 == pytest.approx(own)


# ------------------------------------------------------------------ on disk
@pytest.mark.parametrize(("variant", "strategy"), lab.CELLS)
def test_a_saved_deployment_loads_in_plain_transformers(
    tmp_path: Path, adapter: Path, variant: str, strategy: str
) -> None:
    row = variants.find(variant, strategy)
    base = load_base(tmp_path, row.training_precision)
    served = deployments.deploy(base, adapter, row)
    deployments.save(served, base, row, tmp_path / "served")
    loaded: Any
    if row.deployment == "quantised_base_with_adapter":
        plain = reference(row.training_precision, torch.bfloat16)
        loaded = PeftModel.from_pretrained(plain, str(tmp_path / "served"))
    else:
        loaded = AutoModelForCausalLM.from_pretrained(
            str(tmp_path / "served"), dtype="auto", attn_implementation="eager"
        )
    keep_four_bit_layout(loaded)
    assert torch.equal(logits(loaded.eval()), logits(served))


def test_the_description_says_how_to_serve_it() -> None:
    row = variants.find("LoRA+PTQ", "int4")
    said = json.loads(model_artifact.deployment_text(row, "Qwen/Qwen2.5-3B-Instruct", "abc"))
    assert said["steps"][-1].endswith("(nf4)")
    assert said["base_digest"] == "abc"
