"""Adapters that live in the embedding layer of a frozen decoder."""

from adept_llm.adapters.config import AdeptConfig, BaseTable
from adept_llm.adapters.groups import parameter_groups, trained_parts
from adept_llm.adapters.injection import check_model, inject_adapter, load_adapter, load_adapters
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
from adept_llm.adapters.several import SeveralAdapters, only, rows_of, several_of

__all__ = [
    "METHODS",
    "AdeptConfig",
    "AdeptEmbedding",
    "BaseTable",
    "SeveralAdapters",
    "check_model",
    "embedding_device",
    "get_adapter",
    "inject_adapter",
    "load_adapter",
    "load_adapters",
    "merge_adapter",
    "only",
    "parameter_groups",
    "read_adapter",
    "rows_of",
    "save_adapter",
    "saved_prompt",
    "several_of",
    "trained_parts",
    "virtual_token_ids",
    "without_adapter",
]
