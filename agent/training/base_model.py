"""The base model: where it lies, how it is loaded at each precision, and its digest.

Every cell treats the base alike (same compute dtype, same frozen parameters, same gradient
checkpointing): `prepare_model_for_kbit_training` is not used, because it upcasts and checkpoints
quantised bases only and so makes memory and time incomparable.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
)
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from agent.config.run_config import RunConfig
from agent.config.variants import Precision
from agent.errors import ConfigError, DataError, first_line
from agent.training import device_memory
from agent.training.bases import checks
from agent.training.bases.linear_layers import QUANTISERS, layers_outside, quantise_plain

LONGEST_EAGER = 512  # tokens, on a CPU; see `attention_on`
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass
class Base:
    """A frozen base model. `modules` are its own modules by name, before any adapter wraps them."""

    model: PreTrainedModel
    tokenizer: Any
    precision: Precision
    dtype: torch.dtype
    modules: dict[str, nn.Module]

    @property
    def device(self) -> torch.device:
        return self.model.device


def choose_device(config: RunConfig) -> torch.device:
    """The device a config asks for. ConfigError when it asks for CUDA and there is none."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(["device = 'cuda': this machine has no usable CUDA device; use auto"])
    if config.device != "cpu" and torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)  # for kernels and collectives that take the current one
        return device
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """The GPU's name; "cpu" where there is none."""
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else "cpu"


def load_tokenizer(path: Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a checkpoint. DataError when it cannot be read or has no end token."""
    checks.check_tokenizer_files(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=trust_remote_code)
    except Exception as error:  # a damaged file raises whatever its parser has
        raise DataError(f"{path}: the tokenizer cannot be loaded: {first_line(error)}") from error
    if tokenizer.eos_token_id is None:
        raise DataError(f"{path}: the tokenizer has no end token, so no answer could ever stop")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load(config: RunConfig, path: Path, precision: Precision, device: torch.device) -> Base:
    """Load a base at `precision` onto `device`, frozen, in eval mode.

    DataError when it is not what the config's cell says: see `agent.training.bases.checks`.
    """
    dtype = DTYPES[config.compute_dtype]
    device_memory.reuse_freed(device)
    disable_progress_bar()
    set_verbosity_error()  # its report on tensors is the sentence below
    checks.check_folder(path)
    settings = load_settings(config, path)
    checks.check_positions(config, settings)
    attention = attention_on(device, config.longest_length)
    if attention == "sdpa":
        has_kernel = supports_sdpa(settings, trust_remote_code=config.trust_remote_code)
        attention = attention_on(device, config.longest_length, has_kernel)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(path),
            dtype=dtype,
            quantization_config=_load_quantised(config, path, settings, precision, dtype),
            device_map={"": device},
            attn_implementation=attention,
            trust_remote_code=config.trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # transformers raises a dozen kinds for "not a whole model"
        raise DataError(
            f"base_model = {config.base_model!r} cannot be loaded: {first_line(error)}"
        ) from error
    model, info = loaded
    checks.check_loaded(path, info)
    if precision != "16bit":  # what transformers does not take for a linear layer
        quantise_plain(model, QUANTISERS[precision])
    keep_four_bit_layout(model)
    device_memory.break_cycles(model)
    checks.check_cell(config, model)
    model.requires_grad_(False)
    model.eval()
    tokenizer = load_tokenizer(path, trust_remote_code=config.trust_remote_code)
    checks.check_token_rows(path, model, tokenizer)
    return Base(model, tokenizer, precision, dtype, dict(model.named_modules()))


def load_settings(config: RunConfig, path: Path) -> Any:
    """The checkpoint's own configuration. DataError when its architecture is unknown."""
    try:
        return AutoConfig.from_pretrained(str(path), trust_remote_code=config.trust_remote_code)
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(f"{path}: config.json cannot be used: {reason}") from error


def attention_on(device: torch.device, max_length: int, supports_sdpa: bool = True) -> str:
    """The attention kernel, the same in all cells of one architecture.

    Some architectures are right without the fused kernel only: Gemma 2 caps its scores, gpt-oss
    has sinks. On a CPU the
    backward pass of the fused kernel is slower than plain matrix products (in bf16, 95 tokens:
    31 ms against 9); only for long sequences the memory of their score matrices counts.
    """
    is_short = max_length <= LONGEST_EAGER
    return "eager" if not supports_sdpa or (device.type == "cpu" and is_short) else "sdpa"


def supports_sdpa(settings: Any, *, trust_remote_code: bool = False) -> bool:
    """Whether the architecture is right under torch's fused attention."""
    if getattr(settings.get_text_config(), "attn_logit_softcapping", None) is not None:
        return False
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            settings, attn_implementation="eager", trust_remote_code=trust_remote_code
        )
    return bool(model._supports_sdpa)


def meta_twin(config: RunConfig, path: Path, *, attention: str = "eager") -> PreTrainedModel:
    """The same architecture, unquantised and without memory behind it (the meta device)."""
    settings = load_settings(config, path)
    with torch.device("meta"):
        twin = AutoModelForCausalLM.from_config(
            settings,
            dtype=DTYPES[config.compute_dtype],
            attn_implementation=attention,
            trust_remote_code=config.trust_remote_code,
        )
    twin.requires_grad_(False)
    return twin  # type: ignore[no-any-return]


def _load_quantised(
    config: RunConfig, path: Path, settings: Any, precision: Precision, dtype: torch.dtype
) -> BitsAndBytesConfig | None:
    """How transformers is to quantise while it loads: parts that read no text stay as they are."""
    wanted = quantization_config(precision, dtype)
    if wanted is not None and settings.get_text_config() is not settings:
        twin = meta_twin(config, path)
        head = [n for n, module in twin.named_modules() if module is twin.get_output_embeddings()]
        wanted.llm_int8_skip_modules = [*head, *layers_outside(twin)]
    return wanted


def quantization_config(precision: Precision, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """NF4 with double quantisation (QLoRA, arXiv 2305.14314) or LLM.int8 (arXiv 2208.07339)."""
    if precision == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if precision == "llm_int8" else None


def keep_four_bit_layout(model: nn.Module) -> None:
    """Stop bitsandbytes from repacking 4-bit weights on CPUs with AVX512-BF16.

    The repacking happens at the first forward without gradients, is one-way, and breaks training,
    merging and dequantising afterwards; so it must be off before any forward.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.__dict__["support_avx512bf16_for_cpu"] = False
