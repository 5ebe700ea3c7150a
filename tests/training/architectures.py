"""Tiny models of many architectures, with random weights and an adapter that says something."""

import warnings
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

# What each architecture has of its own: soft-capping, scaled logits, sliding windows, experts.
SETTINGS: dict[str, dict[str, object]] = {
    "qwen2": {},
    "llama": {},
    "mistral": {"sliding_window": 4},
    "gemma2": {"head_dim": 16, "final_logit_softcapping": 1.0, "sliding_window": 4},
    "cohere": {"logit_scale": 0.3, "bos_token_id": 0, "eos_token_id": 1},
    "granite": {"logits_scaling": 4.0},
    "falcon": {},
    "mixtral": {"num_local_experts": 4},
    "opt": {"word_embed_proj_dim": 64, "ffn_dim": 128, "dropout": 0.0},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 1},
}
VOCABULARY = 200


def make_model(kind: str, **settings: object) -> Any:
    """In fp32 on the CPU, two layers, without any dropout; `settings` change the shape."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            **SETTINGS[kind],
            **settings,
        },
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def with_adapter(model: Any) -> Any:
    settings = LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        # Experts that are no linear layers (Mixtral), transposed ones (GPT-2): PEFT says so.
        warnings.filterwarnings("ignore", message=".*((rank|alpha)_pattern keys|fan_in_fan_out)")
        wrapped = get_peft_model(model, settings)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return wrapped.train()
