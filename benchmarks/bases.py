"""What the speed benchmarks are run on: a base model, and rows like SST-2's."""

import argparse
import random
from pathlib import Path
from typing import Any

import torch
import transformers

from adept_llm.base.shapes import known_shape
from adept_llm.data import Encoded, Encoder
from adept_llm.packing.collator import IGNORED, left_pad
from adept_llm.tasks import get_task, load_split

# Of a Llama of 7 M parameters, large enough to be bound by its products
SMALL: dict[str, Any] = {
    "vocab_size": 8192, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6,
    "num_attention_heads": 4, "max_position_embeddings": 1024, "tie_word_embeddings": True,
}  # fmt: skip


def arguments(about: str | None) -> argparse.ArgumentParser:
    """Of every benchmark: the base, its rows and its dtype."""
    parser = argparse.ArgumentParser(description=(about or "").split("\n")[0])
    parser.add_argument("--model")
    parser.add_argument("--data_dir")
    parser.add_argument("--dtype", default="bfloat16")
    return parser


def name_of(model: str | None) -> str:
    """Of a base, wherever it lies."""
    return Path(model).name if model else "random Llama of 7 M parameters"


def base_model(model: str | None, dtype: torch.dtype) -> Any:
    """A folder's model, random weights of a built-in shape by its name, or a small random Llama."""
    torch.manual_seed(0)
    shape = known_shape(model) if model else transformers.LlamaConfig(**SMALL)
    if model and shape is None:
        return transformers.AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    return transformers.AutoModelForCausalLM.from_config(shape, dtype=dtype)


def rows_for(model: str | None, data_dir: str | None, count: int) -> list[Encoded]:
    """SST-2's training rows, or random ids with lengths like theirs where there are none."""
    if model and data_dir:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        rows = load_split(get_task("sst2"), "train", data_dir, limit=count)
        return Encoder(tokenizer, "plain", 256).encode_all(rows)[0]
    rng = random.Random(0)
    lengths = [12 + min(56, int(rng.expovariate(1 / 14))) for _ in range(count)]
    return [
        Encoded([rng.randrange(3, 8000) for _ in range(n)], [5, 2], str(i), -1, 0)
        for i, n in enumerate(lengths)
    ]


def stock_batch(examples: list[Encoded]) -> dict[str, Any]:
    """What a stock causal-LM collator gives: dynamic padding, labels of the input's shape."""
    rows = [e.prompt_ids + e.target_ids for e in examples]
    labels = [[IGNORED] * len(e.prompt_ids) + e.target_ids for e in examples]
    return {
        "input_ids": left_pad(rows, 0),
        "attention_mask": left_pad([[1] * len(row) for row in rows], 0),
        "labels": left_pad(labels, IGNORED),
    }
