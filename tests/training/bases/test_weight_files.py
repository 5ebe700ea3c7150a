"""Real tensors of every way in which a checkpoint is stored wrong, with and without its settings
saying so; and what a folder holds in a model's place."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from agent.errors import DataError
from agent.training import base_model, preflight
from agent.training.bases import checks, weight_files
from agent.training.facts import base_files
from tests.training import families, lab

CPU = torch.device("cpu")
UP = "model.layers.0.mlp.up_proj.weight"
Tensors = dict[str, torch.Tensor]
FORMS = ["safetensors", "bin", "bin shards"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    shutil.copytree(lab.BASE_MODEL, folder)
    return folder


def store(folder: Path, tensors: Tensors, form: str = "safetensors") -> None:
    """The tensors as the folder's only weights."""
    for file in folder.glob("*.safetensors"):
        file.unlink()
    if form == "safetensors":
        save_file(tensors, str(folder / "model.safetensors"), {"format": "pt"})
    elif form == "bin":
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        suffix = "safetensors" if form == "shards" else "bin"
        stem = "model" if form == "shards" else "pytorch_model"
        names = sorted(tensors)
        places: dict[str, str] = {}
        for number, part in enumerate((names[::2], names[1::2]), start=1):
            file = folder / f"{stem}-0000{number}-of-00002.{suffix}"
            piece = {name: tensors[name] for name in part}
            places |= dict.fromkeys(part, file.name)
            if form == "shards":
                save_file(piece, str(file), {"format": "pt"})
            else:
                torch.save(piece, file)
        index = folder / f"{stem}.{suffix}.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": places}))


def tensors_of(folder: Path) -> Tensors:
    return dict(load_file(str(folder / "model.safetensors")))


def codes(kind: torch.dtype, scale: str = "") -> Callable[[Tensors], Tensors]:
    """Every projection as codes of one byte; `scale` names the scales beside them."""

    def change(tensors: Tensors) -> Tensors:
        changed = dict(tensors)
        for name in [n for n in tensors if "_proj.weight" in n]:
            weight = tensors[name].float()
            step = weight.abs().max() / 127
            changed[name] = (weight / step).round().to(kind)
            if scale:
                changed[name.replace("weight", scale)] = step.reshape(1)
        return changed

    return change


def packed(rows_first: bool) -> Callable[[Tensors], Tensors]:
    """Eight codes of 4 bits in an int32, along the inputs (GPTQ) or along the outputs (AWQ)."""

    def change(tensors: Tensors) -> Tensors:
        changed = {n: t for n, t in tensors.items() if "_proj.weight" not in n}
        for name in [n for n in tensors if "_proj.weight" in n]:
            outputs, inputs = tensors[name].shape
            stem = name.removesuffix("weight")
            shape = (inputs // 8, outputs) if rows_first else (inputs, outputs // 8)
            changed[f"{stem}qweight"] = torch.zeros(shape, dtype=torch.int32)
            changed[f"{stem}qzeros"] = torch.zeros(1, outputs // 8, dtype=torch.int32)
            changed[f"{stem}scales"] = torch.ones(1, outputs, dtype=torch.float16)
            if rows_first:
                changed[f"{stem}g_idx"] = torch.zeros(inputs, dtype=torch.int32)
        return changed

    return change


STORED: dict[str, Callable[[Tensors], Tensors]] = {
    "int8 codes": codes(torch.int8),
    "int8 codes and scales": codes(torch.int8, "SCB"),
    "FP8 in one scale": codes(torch.float8_e4m3fn, "weight_scale"),
    "FP8 in blocks": codes(torch.float8_e4m3fn, "weight_scale_inv"),
    "FP8 of the other kind": codes(torch.float8_e5m2),
    "GPTQ": packed(rows_first=True),
    "AWQ": packed(rows_first=False),
    "int16 codes": lambda t: {**t, UP: (t[UP] * 1000).to(torch.int16)},
    "truth values": lambda t: {**t, UP: t[UP] > 0},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", STORED)
def test_codes_are_not_taken_for_weights(base: Path, kind: str, form: str) -> None:
    """Nothing in the folder says that it is quantised but the tensors themselves."""
    store(base, STORED[kind](tensors_of(base)), form)
    with pytest.raises(DataError, match=r"is stored quantised \(.* holds .* values\)"):
        base_model.load(lab.make_config(base.parent, base_model=str(base)), base, "16bit", CPU)


@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("has_settings", [True, False])
@pytest.mark.parametrize("precision", ["nf4", "llm_int8"])
def test_what_bitsandbytes_saves_is_refused(
    tmp_path: Path, precision: Any, has_settings: bool, form: str
) -> None:
    config = lab.make_config(tmp_path, model_variant="QLoRA", quantization_strategy="int4")
    if precision == "llm_int8":
        config = lab.make_config(tmp_path, model_variant="QLoRA", quantization_strategy="int8")
    loaded = base_model.load(config, lab.BASE_MODEL, precision, CPU)
    folder = tmp_path / "quantised"
    loaded.model.save_pretrained(str(folder))
    loaded.tokenizer.save_pretrained(str(folder))
    if not has_settings:
        settings = json.loads((folder / "config.json").read_text())
        settings.pop("quantization_config")
        (folder / "config.json").write_text(json.dumps(settings))
    store(folder, tensors_of(folder), form)
    with pytest.raises(DataError, match="is stored quantised"):
        base_model.load(config, folder, precision, CPU)


@pytest.mark.parametrize("form", [*FORMS, "shards"])
def test_plain_weights_load_from_every_form(base: Path, form: str) -> None:
    wanted = tensors_of(base)
    store(base, wanted, form)
    weight_files.check_values(base)
    config = lab.make_config(base.parent, base_model=str(base), compute_dtype="float32")
    loaded = base_model.load(config, base, "16bit", CPU)
    assert torch.equal(loaded.model.get_parameter(UP), wanted[UP].float())


def test_masks_and_positions_beside_the_weights_are_no_codes(base: Path) -> None:
    mask = torch.ones(1, 1, 8, 8, dtype=torch.uint8)
    extra = {"h.0.attn.bias": mask, "embeddings.position_ids": torch.arange(8)[None]}
    store(base, {**tensors_of(base), **extra})
    weight_files.check(base)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[0].fill_(float("nan")), "values that are not finite numbers"),
        (lambda w: w[3, 3:].fill_(float("inf")), "values that are not finite numbers"),
        (lambda w: w.zero_(), "only zeros; was the file written to its end"),
    ],
)
def test_weights_that_are_no_numbers_are_found_before_the_run(
    base: Path, form: str, change: Any, message: str
) -> None:
    tensors = tensors_of(base)
    change(tensors[UP])
    store(base, tensors, form)
    with pytest.raises(DataError, match=f"{UP} holds {message}"):
        preflight.check_weights(lab.make_config(base.parent, base_model=str(base)), CPU)


def delete(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("form", "damage", "message"),
    [
        ("shards", delete("model-00002-of-00002.safetensors"), "00002-of-00002.* is not there"),
        ("bin shards", delete("pytorch_model-00001-of-00002.bin"), "1-of-00002.bin of 2 shards is"),
        ("shards", delete("model.safetensors.index.json"), "holds no weights .* loaded alone"),
        ("bin", lambda f: (f / "pytorch_model.bin").write_bytes(b"PK"), "cannot be read as weigh"),
        ("bin", lambda f: torch.save([1], f / "pytorch_model.bin"), "holds no tensors by name"),
        ("bin", delete("pytorch_model.bin"), "holds no weights"),
    ],
)
def test_a_checkpoint_that_is_not_whole_names_what_is_missing(
    base: Path, form: str, damage: Any, message: str
) -> None:
    store(base, tensors_of(base), form)
    damage(base)
    with pytest.raises(DataError, match=message) as caught:
        checks.check_folder(base)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "tensor",
    [
        {},
        [],
        {"dtype": "F32", "shape": [1], "data_offsets": [0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, "4"]},
        {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]},
        {"dtype": 32, "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
    ],
)
def test_a_header_that_describes_no_tensor_is_one_sentence(base: Path, tensor: object) -> None:
    header = json.dumps({"a": tensor}).encode()
    file = base / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(DataError, match="is not a whole safetensors file"):
        checks.check_folder(base)


def test_code_inside_a_pickled_file_is_not_run(base: Path, tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "was run",))

    (base / "model.safetensors").unlink()
    (base / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Code()}))
    with pytest.raises(DataError, match="take a checkpoint in safetensors"):
        checks.check_folder(base)
    assert not (tmp_path / "was run").exists()


def test_a_file_of_the_old_format_is_read(base: Path) -> None:
    tensors = tensors_of(base)
    (base / "model.safetensors").unlink()
    file = base / "pytorch_model.bin"
    torch.save(tensors, file, _use_new_zipfile_serialization=False)
    assert len(weight_files.types_in(file)) == len(tensors)


def gguf(folder: Path) -> None:
    for name in ("model.safetensors", "config.json"):
        (folder / name).unlink()
    (folder / "model.Q4_K_M.gguf").write_bytes(b"GGUF")


def adapter(folder: Path) -> None:
    gguf(folder)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "team/base"}')


def file_in_its_place(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (gguf, "holds GGUF files, which are quantised for llama.cpp"),
        (adapter, "is an adapter of 'team/base', not a model; name its base"),
        (shutil.rmtree, "no such directory"),
        (file_in_its_place, "is a file; name the directory"),
    ],
)
def test_what_is_no_checkpoint_says_what_it_is(base: Path, change: Any, message: str) -> None:
    change(base)
    with pytest.raises(DataError, match=message):
        base_files.locate(lab.make_config(base.parent, base_model=str(base)))


@pytest.mark.parametrize("names", [["tokenizer.json"], ["tokenizer_config.json"]])
def test_a_base_without_a_tokenizer_is_refused(base: Path, names: list[str]) -> None:
    for name in names:
        (base / name).unlink()
    with pytest.raises(DataError, match="copy the tokenizer's files from where the model comes"):
        base_model.load_tokenizer(base)


def test_a_tokenizer_with_half_the_tokens_is_refused(base: Path) -> None:
    families.set_config(base, vocab_size=5000)
    with pytest.raises(
        DataError, match="tokens, the embedding 5000 rows; the tokenizer is another"
    ):
        preflight.examine(lab.make_config(base.parent, base_model=str(base)))


def test_an_answer_beyond_the_positions_is_refused_before_training(base: Path) -> None:
    config = lab.make_config(base.parent, max_length=500, max_new_tokens=480, eval_examples=4)
    with pytest.raises(
        DataError, match=r"max_new_tokens = 480 together take \d+ tokens, beyond the 512"
    ):
        preflight.examine(config)


SMALL: dict[str, Any] = {
    "vocab_size": 1024,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}


def make(folder: Path, model: str, config: str, **values: Any) -> Path:
    torch.manual_seed(0)
    settings = getattr(transformers, config)(**{**SMALL, **values})
    getattr(transformers, model)(settings).save_pretrained(str(folder))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(lab.BASE_MODEL / name, folder / name)
    return folder


@pytest.mark.parametrize(
    ("model", "config", "message"),
    [
        ("BertForMaskedLM", "BertConfig", "says BertForMaskedLM, which does not write text"),
        ("LlamaForSequenceClassification", "LlamaConfig", "says LlamaForSequenceClassification"),
        ("LlamaModel", "LlamaConfig", r"lm_head\.weight are missing"),
        ("CLIPModel", "CLIPConfig", "77 positions|Unrecognized configuration"),
    ],
)
def test_models_for_other_ends_are_refused(
    tmp_path: Path, model: str, config: str, message: str
) -> None:
    values = {} if config != "CLIPConfig" else {"projection_dim": 8}
    folder = make(tmp_path / "other", model, config, **values)
    with pytest.raises(DataError, match=message):
        preflight.check_weights(lab.make_config(tmp_path, base_model=str(folder)), CPU)


def test_a_model_that_sees_what_comes_next_is_refused_whatever_it_is_called(
    tmp_path: Path,
) -> None:
    folder = make(tmp_path / "encoder", "BertLMHeadModel", "BertConfig")
    with pytest.raises(DataError, match="changes what the model says before it"):
        preflight.check_weights(lab.make_config(tmp_path, base_model=str(folder)), CPU)
    folder = make(tmp_path / "decoder", "BertLMHeadModel", "BertConfig", is_decoder=True)
    preflight.check_weights(lab.make_config(tmp_path, base_model=str(folder)), CPU)


def test_a_model_that_cannot_be_run_as_the_cell_says_is_refused(tmp_path: Path) -> None:
    """Mamba's own code takes the matrix of a layer, which is packed in 4 bits."""
    folder = make(tmp_path / "mamba", "MambaForCausalLM", "MambaConfig", state_size=4)
    values = {"model_variant": "QLoRA", "quantization_strategy": "int4"}
    with pytest.raises(DataError, match="cannot be run: "):
        preflight.check_weights(lab.make_config(tmp_path, base_model=str(folder), **values), CPU)
