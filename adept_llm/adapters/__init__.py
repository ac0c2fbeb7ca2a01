"""Adapters that live in the embedding layer of a frozen decoder."""

from adept_llm.adapters.config import AdeptConfig, BaseTable
from adept_llm.adapters.injection import check_model, inject_adapter, load_adapter
from adept_llm.adapters.layer import (
    AdeptEmbedding,
    embedding_device,
    get_adapter,
    virtual_token_ids,
    without_adapter,
)
from adept_llm.adapters.merge import merge_adapter
from adept_llm.adapters.methods import METHODS
from adept_llm.adapters.saved import read_adapter, save_adapter, saved_prompt

__all__ = [
    "METHODS",
    "AdeptConfig",
    "AdeptEmbedding",
    "BaseTable",
    "check_model",
    "embedding_device",
    "get_adapter",
    "inject_adapter",
    "load_adapter",
    "merge_adapter",
    "read_adapter",
    "save_adapter",
    "saved_prompt",
    "virtual_token_ids",
    "without_adapter",
]
