"""One small random model of each supported architecture, by its own stock class."""

from typing import Any

import torch

VOCAB, WIDTH, CONTEXT = 96, 32, 128

# model type -> what its config class is given, beyond `COMMON`
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"num_key_value_heads": 4, "tie_word_embeddings": False}),
    "llama-grouped": ("llama", {"num_key_value_heads": 2, "tie_word_embeddings": False}),
    "llama-tied": ("llama", {"num_key_value_heads": 4, "tie_word_embeddings": True}),
    "llama-grouped-tied": ("llama", {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "mistral": ("mistral", {"num_key_value_heads": 2}),
    "qwen2": ("qwen2", {"num_key_value_heads": 2}),
    "qwen3": ("qwen3", {"num_key_value_heads": 2, "head_dim": 8}),
    "phi3": ("phi3", {"num_key_value_heads": 2, "pad_token_id": 0}),
    "gemma2": ("gemma2", {"num_key_value_heads": 2, "head_dim": 8}),
    "gemma3": ("gemma3_text", {"num_key_value_heads": 2, "head_dim": 8}),
    "gpt_neox": ("gpt_neox", {}),
    "gpt2": ("gpt2", {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
    "opt": ("opt", {"dropout": 0.0, "word_embed_proj_dim": WIDTH, "ffn_dim": 48}),
}
COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}


def small_model(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """A seeded random model in eval mode."""
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type, changes = ARCHITECTURES[name]
    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **{**COMMON, **changes})
    return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
