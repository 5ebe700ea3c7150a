"""Wrong weights never train: each kind of base is what its cell says, or is refused."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from agent.errors import DataError
from agent.training import base_model
from agent.training.facts import base_files
from tests.training import families, lab

CPU = torch.device("cpu")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    shutil.copytree(lab.BASE_MODEL, folder)
    return folder


def load(folder: Path, /, **values: Any) -> base_model.Base:
    root = folder.parent if folder != lab.BASE_MODEL else Path(tempfile.mkdtemp())
    config = lab.make_config(root, base_model=str(folder), **values)
    return base_model.load(config, folder, config.variant.training_precision, CPU)


def change_tensors(folder: Path, change: Any) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(str(file))
    change(tensors)
    save_file(tensors, str(file), {"format": "pt"})


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "fp8"},
        {"quant_method": "fbgemm_fp8"},
        {"quant_method": "compressed-tensors"},
        {"quant_method": "mxfp4"},
        {},
    ],
)
def test_a_base_that_says_it_is_quantised_is_refused(
    base: Path, settings: dict[str, object]
) -> None:
    families.set_config(base, quantization_config=settings)
    with pytest.raises(DataError, match=r"is stored quantised .*name the unquantised checkpoint"):
        load(base)


def test_a_base_with_weights_of_one_byte_is_refused_though_it_says_nothing(base: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    change_tensors(base, lambda t: t.update({name: (t[name] * 100).to(torch.int8)}))
    with pytest.raises(DataError, match=rf"is stored quantised \({name} holds I8 values\)"):
        load(base)


def test_a_real_four_bit_checkpoint_is_refused(tmp_path: Path) -> None:
    quantised = load_quantised_copy(tmp_path)
    with pytest.raises(DataError, match="is stored quantised"):
        load(quantised)
    settings = json.loads((quantised / "config.json").read_text())
    del settings["quantization_config"]
    (quantised / "config.json").write_text(json.dumps(settings))
    with pytest.raises(DataError, match="is stored quantised"):
        load(quantised)


def load_quantised_copy(tmp_path: Path) -> Path:
    config = lab.make_config(tmp_path, model_variant="QLoRA", quantization_strategy="int4")
    loaded = base_model.load(config, lab.BASE_MODEL, "nf4", CPU)
    folder = tmp_path / "quantised"
    loaded.model.save_pretrained(str(folder))
    loaded.tokenizer.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.layers.1.mlp.up_proj.weight"), "up_proj.weight are missing"),
        (lambda t: t.update({"model.layers.9.extra": torch.ones(3)}), "extra belong to no part"),
        (
            lambda t: t.update({"model.layers.1.mlp.up_proj.weight": torch.ones(3, 3)}),
            "up_proj.weight have another shape|cannot be loaded",
        ),
    ],
)
def test_tensors_that_are_not_the_models_are_named(base: Path, change: Any, message: str) -> None:
    change_tensors(base, change)
    with pytest.raises(DataError, match=message):
        load(base)


def test_a_cut_file_is_refused(base: Path) -> None:
    file = base / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="is cut off"):
        load(base)
    file.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="is not a whole safetensors file"):
        load(base)


def test_an_adapter_beside_the_model_is_refused(base: Path) -> None:
    (base / "adapter_config.json").write_text("{}")
    with pytest.raises(DataError, match="holds an adapter beside the model"):
        load(base)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model_type": "poem"}', "{}"])
def test_a_config_that_is_none_is_refused(base: Path, text: str) -> None:
    (base / "config.json").write_text(text)
    with pytest.raises(DataError, match=r"config\.json"):
        load(base)


def test_weights_that_are_not_there_are_one_sentence(base: Path) -> None:
    (base / "model.safetensors").unlink()
    with pytest.raises(DataError, match="holds no weights"):
        load(base)


def test_max_length_beyond_the_models_positions_is_refused(base: Path) -> None:
    with pytest.raises(DataError, match="max_length = 600 is beyond the 512 positions"):
        load(base, max_length=600)


def test_a_padding_token_without_a_row_is_replaced_and_an_end_token_without_is_refused(
    base: Path,
) -> None:
    tokenizer = base_model.load_tokenizer(base)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.add_tokens([f"<more{n}>" for n in range(80)], special_tokens=True)
    tokenizer.pad_token = "<more79>"
    tokenizer.save_pretrained(str(base))
    loaded = load(base)
    assert loaded.tokenizer.pad_token == loaded.tokenizer.eos_token == "<|end|>"
    tokenizer.eos_token = "<more78>"
    tokenizer.save_pretrained(str(base))
    with pytest.raises(DataError, match="the tokenizer is another model's"):
        load(base)


def test_pickled_weights_and_code_are_in_the_digest(base: Path, tmp_path: Path) -> None:
    tensors = load_file(str(base / "model.safetensors"))
    (base / "model.safetensors").unlink()
    digests = []
    for factor in (1.0, 2.0):
        torch.save({n: t * factor for n, t in tensors.items()}, base / "pytorch_model.bin")
        digests.append(base_files.digest_of(base, tmp_path / "digests"))
    (base / "modeling.py").write_text("code")
    digests.append(base_files.digest_of(base, tmp_path / "digests"))
    assert len(set(digests)) == 3
    assert load(base).model.num_parameters() > 0


@pytest.mark.parametrize("family", ["Gemma 2", "gpt-oss"])
@pytest.mark.parametrize("max_length", [64, 500])
def test_capped_attention_has_one_kernel_at_every_length(
    tmp_path: Path, family: str, max_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_model, "LONGEST_EAGER", 100)
    folder = families.make_base(tmp_path / "base", family)
    loaded = load(folder, max_length=max_length, lora_dropout=0.0)
    assert loaded.model.config._attn_implementation == "eager"
    assert load(lab.BASE_MODEL, max_length=500).model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("strategy", ["int4", "int8"])
@pytest.mark.parametrize("variant", ["QLoRA", "LoRA+PTQ"])
def test_experts_that_would_stay_in_sixteen_bit_are_refused(
    tmp_path: Path, variant: str, strategy: str
) -> None:
    folder = families.make_base(tmp_path / "moe", "Qwen3-MoE")
    with pytest.raises(DataError, match=f"would hold only 25% of its weights in {strategy}"):
        load(folder, model_variant=variant, quantization_strategy=strategy)


def test_dropout_on_experts_is_refused(tmp_path: Path) -> None:
    folder = families.make_base(tmp_path / "moe", "Mixtral")
    with pytest.raises(DataError, match=r"lora_dropout = 0\.1: adapters of experts"):
        load(folder)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("GatedRepoError", "is gated: accept its licence"),
        ("RepositoryNotFoundError", "is not on the hub under this name, or is private"),
        ("ConnectionError", "is not in the Hugging Face cache and cannot be downloaded"),
    ],
)
def test_a_model_that_the_hub_does_not_give_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, message: str
) -> None:
    import huggingface_hub

    def refuse(*_: object, **__: object) -> None:
        raise type(kind, (Exception,), {})("no")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(DataError, match=message):
        base_files.locate(lab.make_config(tmp_path, base_model="team/model"))
