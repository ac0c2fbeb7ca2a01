"""Shapes of models that are built in: their config.json may be out of reach.

The hub gives many of them to registered users only, and `adept-llm estimate` is asked on machines
that reach no hub. tests/base/test_shapes.py counts their parameters.
"""

from typing import Any

import torch

_LLAMA_2: dict[str, Any] = {
    "vocab_size": 32000, "max_position_embeddings": 4096, "dtype": torch.float16,
}  # fmt: skip
_LLAMA_3: dict[str, Any] = {"vocab_size": 128256, "dtype": torch.bfloat16}
_QWEN: dict[str, Any] = {"dtype": torch.bfloat16}
SHAPES: dict[str, dict[str, Any]] = {
    "meta-llama/Llama-2-7b-hf": {
        **_LLAMA_2, "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 32, "num_attention_heads": 32,
    },
    "meta-llama/Llama-2-13b-hf": {
        **_LLAMA_2, "hidden_size": 5120, "intermediate_size": 13824,
        "num_hidden_layers": 40, "num_attention_heads": 40,
    },
    "meta-llama/Llama-2-70b-hf": {
        **_LLAMA_2, "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
    },
    "meta-llama/Meta-Llama-3-8B": {
        **_LLAMA_3, "max_position_embeddings": 8192, "hidden_size": 4096,
        "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "meta-llama/Meta-Llama-3-70B": {
        **_LLAMA_3, "max_position_embeddings": 8192, "hidden_size": 8192,
        "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8,
    },
    "meta-llama/Llama-3.2-1B": {
        **_LLAMA_3, "max_position_embeddings": 131072, "hidden_size": 2048,
        "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True,
    },
    "meta-llama/Llama-3.2-3B": {
        **_LLAMA_3, "max_position_embeddings": 131072, "hidden_size": 3072,
        "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24,
        "num_key_value_heads": 8, "tie_word_embeddings": True,
    },
    "mistralai/Mistral-7B-v0.1": {
        "model_type": "mistral", "vocab_size": 32000, "max_position_embeddings": 32768,
        "sliding_window": 4096, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "dtype": torch.bfloat16,
    },
    "Qwen/Qwen2.5-0.5B": {
        **_QWEN, "model_type": "qwen2", "vocab_size": 151936, "max_position_embeddings": 32768,
        "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-7B": {
        **_QWEN, "model_type": "qwen2", "vocab_size": 152064, "max_position_embeddings": 131072,
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4,
    },
    "Qwen/Qwen3-8B": {
        **_QWEN, "model_type": "qwen3", "vocab_size": 151936, "max_position_embeddings": 40960,
        "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    },
    "google/gemma-2-2b": {
        "model_type": "gemma2", "vocab_size": 256000, "max_position_embeddings": 8192,
        "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
        "dtype": torch.float32,
    },
    "google/gemma-3-270m": {
        "model_type": "gemma3_text", "vocab_size": 262144, "max_position_embeddings": 32768,
        "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
        "dtype": torch.bfloat16,
    },
}  # fmt: skip


def known_shape(name_or_path: str) -> Any | None:
    """Configuration of a model whose shape is built in, else None."""
    from transformers import AutoConfig

    shape = dict(SHAPES.get(name_or_path, {}))
    return AutoConfig.for_model(shape.pop("model_type", "llama"), **shape) if shape else None
