"""What tests are made of: small random models of each architecture, adapters, examples, losses."""

import random
from dataclasses import asdict, replace
from typing import Any

import torch

from adept_llm.adapters import AdeptConfig, get_adapter, inject_adapter
from adept_llm.data import Encoded
from adept_llm.packing import Batcher, make_batcher, summed_loss
from adept_llm.record import BaseRecord, DataRecord, RunRecord

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
    "gpt2": ("gpt2", {}),
    "opt": ("opt", {"word_embed_proj_dim": WIDTH, "ffn_dim": 48}),
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


# a small adapter of each method; the offset of dept ends within the tests' texts
CONFIGS = {
    "adept": AdeptConfig("adept", 5, 3),
    "adept_linear": AdeptConfig("adept_linear", 5, 3),
    "adept_gated": AdeptConfig("adept_gated", 5, 3),
    "dept": AdeptConfig("dept", 5, 3, offset_positions=6),
    "prompt_tuning": AdeptConfig("prompt_tuning", 5),
    "embedding_lora": AdeptConfig("embedding_lora", 5, 3),
    "dpt": AdeptConfig("dpt", 5, prompt_rank=3),
    "superpos": AdeptConfig("superpos", 5, prompt_rank=7),
    "ulpt": AdeptConfig("ulpt", 5, prompt_rank=3),
}

# Gemma-2 soft-caps its attention and is padded always
PACKED = [name for name in ARCHITECTURES if name != "gemma2"]
Run = tuple[float, dict[str, torch.Tensor]]


def make_examples(lengths: list[tuple[int, int]], seed: int = 0) -> list[Encoded]:
    """Random examples with these numbers of (prompt, target) tokens."""
    rng = random.Random(seed)

    def ids(n: int) -> list[int]:
        return [rng.randrange(3, VOCAB) for _ in range(n)]

    return [Encoded(ids(p), ids(t), str(i), -1, 0) for i, (p, t) in enumerate(lengths)]


def adapted(
    name: str = "llama-grouped",
    method: str = "adept",
    m: int = 5,
    dtype: torch.dtype = torch.float32,
) -> Any:
    """A small model with an adapter whose values are far from their start."""
    config = replace(CONFIGS[method], num_virtual_tokens=m)
    model = inject_adapter(small_model(name, dtype), config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in get_adapter(model).trained_parameters().values():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def prefixed(model: Any, length: int = 6, rows: int = 2) -> torch.Tensor:
    """Random words behind the virtual tokens, [rows, m + length]."""
    words = torch.randint(3, VOCAB, (rows, length), generator=torch.Generator().manual_seed(2))
    prefix = torch.tensor(get_adapter(model).virtual_token_ids, dtype=torch.long)
    return torch.cat([prefix.expand(rows, -1), words], 1)


def embedded(model: Any, ids: torch.Tensor, **options: Any) -> tuple[torch.Tensor, Any]:
    """What the model's layer gives for these ids, and the model's output."""
    seen: list[torch.Tensor] = []
    with get_adapter(model).register_forward_hook(lambda *call: seen.append(call[-1])):
        out = model(ids, **options)
    return seen[0], out


def loss_and_gradients(model: Any, batcher: Batcher, examples: list[Encoded]) -> Run:
    """Mean loss over target tokens, and the gradient of each trained parameter."""
    batch = batcher(examples)
    model.zero_grad()
    logits = model(**batch["inputs"], use_cache=False).logits
    loss = summed_loss(logits, batch["labels"]) / sum(len(e.target_ids) for e in examples)
    loss.backward()
    parameters = get_adapter(model).trained_parameters()
    return loss.item(), {n: p.grad.clone() for n, p in parameters.items() if p.grad is not None}


def both(model: Any, examples: list[Encoded]) -> tuple[Run, Run]:
    """The padded run, then the packed one."""
    padded = loss_and_gradients(model, make_batcher(model, "padded"), examples)
    batcher = make_batcher(model)
    assert batcher.packed, batcher.why_padded
    return padded, loss_and_gradients(model, batcher, examples)


def record_of(**data: Any) -> RunRecord:
    """A run's record with such data."""
    given = {
        "kind": "labels", "labels": ("no", "yes"), "template": "plain", "max_length": 64,
        "train_rows": 4, "train_fingerprint": "0" * 12,
    }  # fmt: skip
    base = BaseRecord("somewhere/base", None, "auto", "none")
    return RunRecord.start(
        base, asdict(CONFIGS["adept"]), DataRecord(**{**given, **data}), {}, ["adept-llm", "train"]
    )
