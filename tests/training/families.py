"""Tiny models with random weights, one per family of architectures, under the demo's tokenizer."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.training import lab

VOCABULARY = 1024
_SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 967,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}

# Family by the name of its table row: configuration class and what differs from the common shape.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaConfig", {}),
    "Qwen2": ("Qwen2Config", {}),
    "Qwen3": ("Qwen3Config", {"head_dim": 8}),
    "Qwen2-MoE": (
        "Qwen2MoeConfig",
        {**_EXPERTS, "shared_expert_intermediate_size": 24, "decoder_sparse_step": 1},
    ),
    "OLMoE": ("OlmoeConfig", {"num_experts": 4, "num_experts_per_tok": 2}),
    "Qwen3-MoE": ("Qwen3MoeConfig", {"head_dim": 8, **_EXPERTS}),
    "Gemma 2": ("Gemma2Config", {"head_dim": 8, "query_pre_attn_scalar": 8}),
    "Gemma 3": ("Gemma3TextConfig", {"head_dim": 8, "query_pre_attn_scalar": 8}),
    "Gemma 3, multimodal": ("Gemma3Config", {}),
    "Mistral": ("MistralConfig", {"head_dim": 8}),
    "Mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "Phi-3, Phi-4": ("Phi3Config", {}),
    "OLMo 2": ("Olmo2Config", {}),
    "GLM-4": ("Glm4Config", {"head_dim": 8, "partial_rotary_factor": 0.5}),
    "Granite": ("GraniteConfig", {}),
    "SmolLM3": ("SmolLM3Config", {}),
    "Falcon": ("FalconConfig", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "GPT-2": ("GPT2Config", {"n_positions": 512, "n_embd": 32, "n_layer": 2, "n_head": 4}),
    "GPT-NeoX": ("GPTNeoXConfig", {}),
    "gpt-oss": (
        "GptOssConfig",
        {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "rope_parameters": None},
    ),
    "DeepSeek-V3": (
        "DeepseekV3Config",
        {
            "num_key_value_heads": 4,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
        },
    ),
}


def make_base(directory: Path, family: str, seed: int = 0) -> Path:
    """A checkpoint folder of the family."""
    import torch
    import transformers

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config_of(family))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "sinks" in name or (parameter.ndim > 1 and not parameter.any()):
                parameter.normal_(0, 0.2)
    model.generation_config.eos_token_id = _SMALL["eos_token_id"]
    model.to(torch.float32).save_pretrained(str(directory))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(lab.BASE_MODEL / name, directory / name)
    return directory


def config_of(family: str) -> Any:
    import transformers

    name, own = FAMILIES[family]
    kind = getattr(transformers, name)
    if name == "Gemma3Config":
        vision = {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "image_size": 28,
            "patch_size": 14,
        }
        text = {**_SMALL, "head_dim": 8, "query_pre_attn_scalar": 8}
        return kind(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    values = {**_SMALL, **own}
    return kind(**{n: v for n, v in values.items() if n != "rope_parameters" or v is not None})


def set_config(directory: Path, **values: Any) -> None:
    """Change values of a checkpoint's config.json in place."""
    file = directory / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
