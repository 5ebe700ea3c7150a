"""Whether a base model is what a cell takes it for; anything else is refused in a sentence.

A checkpoint that is stored quantised, that lacks a tensor or brings one too many would load
silently and train on other weights than its name says.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear8bitLt

from agent.config.run_config import RunConfig
from agent.errors import DataError, first_line
from agent.training.bases import linear_layers, weight_files

LEAST_QUANTISED = 0.9  # of the weights in the decoder's layers, where a cell says int8 or int4
_SHOWN = 3  # tensors named in a message
# What models for other ends are called; with a language model's head they see what comes next.
_OTHER_ENDS = (
    "ForMaskedLM",
    "ForPreTraining",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
)
_TOKENIZERS = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"),
    *("sentencepiece.bpe.model", "tekken.json", "*.tiktoken", "tokenization_*.py"),
)
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
LEAST_VOCABULARY = 0.5  # tokens over rows of the embedding; real models pad by some per cent


def check_folder(path: Path) -> None:
    """DataError when the folder's weights are quantised, damaged, another kind of model's or an
    adapter's."""
    settings = read_settings(path)
    if (path / "adapter_config.json").is_file():
        raise DataError(
            f"base_model = {str(path)!r}: holds an adapter beside the model, which would be put on "
            "it silently; merge it, or move adapter_config.json elsewhere"
        )
    if method := quantisation_of(settings):
        raise weight_files.quantised(path, method)
    named = settings.get("architectures")
    for name in named if isinstance(named, list) else ():
        if str(name).endswith(_OTHER_ENDS):
            raise DataError(
                f"base_model = {str(path)!r}: its config.json says {name}, which does not write "
                "text from left to right; take a causal language model"
            )
    weight_files.check(path)


def check_tokenizer_files(path: Path) -> None:
    """DataError for a folder without a tokenizer: transformers makes an empty one up there."""
    for patterns, what in ((_TOKENIZERS, "tokenizer"), (_TOKENIZER_SETTINGS, "tokenizer settings")):
        if not any(any(path.glob(pattern)) for pattern in patterns):
            raise DataError(
                f"{path}: holds no {what} ({', '.join(patterns[:2])}, …); copy the tokenizer's "
                "files from where the model comes from"
            )


def check_vocabulary(path: Path, tokenizer: Any, rows: int | None) -> None:
    """DataError for a tokenizer with far fewer tokens than the embedding has rows."""
    if rows is not None and len(tokenizer) < rows * LEAST_VOCABULARY:
        raise DataError(
            f"{path}: the tokenizer has {len(tokenizer)} tokens, the embedding {rows} rows; the "
            "tokenizer is another model's, or a part of it is missing"
        )


def read_settings(path: Path) -> dict[str, Any]:
    """`config.json` of a checkpoint. DataError when it is not a JSON object."""
    try:
        settings = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path / 'config.json'}: cannot be read: {error}") from None
    if not isinstance(settings, dict):
        raise DataError(f"{path / 'config.json'}: is not a JSON object")
    return settings


def quantisation_of(settings: Mapping[str, Any]) -> str | None:
    """How a checkpoint says its weights are quantised; None for plain weights."""
    parts = [settings, *(v for v in settings.values() if isinstance(v, Mapping))]
    for part in parts:
        for name in ("quantization_config", "compression_config"):
            if isinstance(found := part.get(name), Mapping):
                bits = [word for word in ("4bit", "8bit") if found.get(f"load_in_{word}")]
                method = str(found.get("quant_method") or "an unnamed method")
                return " ".join([method, *bits])
    return None


_POSITIONS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "n_ctx",
    "seq_length",
)


def positions_of(settings: Any) -> int | None:
    """The positions that a model was made for; None where its settings name none."""
    named = (getattr(settings.get_text_config(), name, None) for name in _POSITIONS)
    return next((n for n in named if isinstance(n, int) and n > 0), None)


def check_positions(config: RunConfig, settings: Any) -> None:
    """DataError when a length limit is beyond the positions that the model was made for."""
    positions = positions_of(settings)
    longest = config.longest_length
    if positions is not None and positions < longest:
        raise DataError(
            f"max_length = {longest} is beyond the {positions} positions of base_model = "
            f"{config.base_model!r}; lower it to {positions} or take another base"
        )


def check_answers_fit(config: RunConfig, settings: Any, furthest: int) -> None:
    """DataError when an answer of `max_new_tokens` would go beyond the model's positions."""
    positions = positions_of(settings)
    if positions is not None and furthest > positions:
        raise DataError(
            f"the longest prompt that is scored and max_new_tokens = {config.max_new_tokens} "
            f"together take {furthest} tokens, beyond the {positions} positions of base_model = "
            f"{config.base_model!r}; lower max_length or max_new_tokens"
        )


def check_loaded(path: Path, info: Mapping[str, Any]) -> None:
    """DataError when tensors are missing, are too many or have another shape than the model's."""
    faults = []
    for kind, what in (
        ("missing_keys", "are missing (they would be random, others at each load)"),
        ("mismatched_keys", "have another shape than the model"),
        ("unexpected_keys", "belong to no part of the model"),
    ):
        if names := sorted(map(_tensor_name, info.get(kind) or ())):
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            faults.append(f"{', '.join(names[:_SHOWN])}{more} {what}")
    faults += [str(line).splitlines()[0] for line in info.get("error_msgs") or () if str(line)]
    if faults:
        raise DataError(
            f"base_model = {str(path)!r}: its tensors are not those of its config.json: "
            f"{'; '.join(faults)}; use a whole checkpoint of one model"
        )


def _tensor_name(key: Any) -> str:
    return str(key[0]) if isinstance(key, list | tuple) else str(key)


def check_cell(config: RunConfig, model: Any) -> None:
    """DataError when the loaded model cannot be what the cell says: weights that stay in 16 bit
    under int4 or int8, or an adapter that a mixture of experts cannot have."""
    experts = linear_layers.expert_parameters(model)
    share = linear_layers.share_quantised(model)
    if config.variant.training_precision == "16bit":
        share = linear_layers.share_quantisable(model)
    if config.variant.quantization_method != "none" and share < LEAST_QUANTISED:
        why = f"; its experts ({experts[0]}, …) are not linear layers" if experts else ""
        raise DataError(
            f"base_model = {config.base_model!r}: {config.model_variant} with "
            f"{config.quantization_strategy} would hold only {share:.0%} of its weights in "
            f"{config.quantization_strategy}{why}; use Full LoRA with None, or another base"
        )
    if experts and config.lora_dropout:
        raise DataError(
            f"lora_dropout = {config.lora_dropout:g}: adapters of experts ({experts[0]}, …) have "
            "no dropout; set it to 0 for a mixture of experts"
        )


def check_token_rows(path: Path, model: Any, tokenizer: Any) -> str | None:
    """Give the tokenizer another padding token where its own has no row in the embedding.

    Returns what was changed. DataError when the end token has none.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    check_vocabulary(path, tokenizer, rows)
    if tokenizer.eos_token_id >= rows:
        raise DataError(
            f"{path}: the end token {tokenizer.eos_token!r} has id {tokenizer.eos_token_id}, but "
            f"the embedding has {rows} rows; the tokenizer is another model's"
        )
    if tokenizer.pad_token_id < rows:
        return None
    was = f"{tokenizer.pad_token!r} (id {tokenizer.pad_token_id} of {rows} rows)"
    tokenizer.pad_token = tokenizer.eos_token
    return f"padding token {was} has no embedding: {tokenizer.eos_token!r} pads instead"


_PASSAGE = 8  # tokens


def check_causal(config: RunConfig, model: Any) -> None:
    """Run a passage twice with another last token. DataError when the model cannot be run, or what
    it says before that token changes: it sees what comes next, and would learn to copy it."""
    rows = model.get_input_embeddings().weight.shape[0]
    first = torch.arange(_PASSAGE, device=model.device) % rows
    second = first.clone()
    second[-1] = rows // 2
    try:
        with torch.no_grad():  # not inference_mode: the training goes on with what layers keep
            said = [
                model(input_ids=ids[None], use_cache=False).logits[0] for ids in (first, second)
            ]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # an architecture may raise what it likes
        raise DataError(
            f"base_model = {config.base_model!r} cannot be run: {first_line(error)}"
        ) from error
    change = (said[0] - said[1]).float().abs()
    if not bool(torch.isfinite(change).all()):
        raise DataError(
            f"base_model = {config.base_model!r} says values that are not numbers in "
            f"{config.compute_dtype}; take another compute_dtype or another base"
        )
    rounds = bool(linear_layers.expert_parameters(model)) or _holds_int8(model)
    if change[:-1].max() > MOST_CHANGE[rounds] * change[-1].max():
        raise DataError(
            f"base_model = {config.base_model!r}: a token changes what the model says before it, "
            "so it does not write text from left to right; take a causal language model"
        )


# Of the change at the token itself. Nothing changes where each position is computed alone; LLM.int8
# (0.015 measured) and experts round over all positions at once.
MOST_CHANGE = {False: 1e-3, True: 0.05}


def _holds_int8(model: Any) -> bool:
    return any(isinstance(module, Linear8bitLt) for module in model.modules())
