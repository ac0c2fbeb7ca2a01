"""Format peft: a prompt without an offset, as PEFT's prompt tuning."""

import json
from pathlib import Path

import torch

from adept_llm.adapters.foreign import CONFIG_FILE, PLAIN, PROMPT, WEIGHTS
from adept_llm.adapters.layer import embed_scale_of
from adept_llm.adapters.methods import METHODS
from adept_llm.adapters.offsets import NoOffset
from adept_llm.base.loading import lasting_name
from adept_llm.base.memory import meta_model
from adept_llm.errors import InputError
from adept_llm.export.card import write_peft_card
from adept_llm.export.merged import adapter_over
from adept_llm.export.options import ExportOptions
from adept_llm.export.stored_base import find_stored
from adept_llm.files import write_files
from adept_llm.tuned import Tuned


def write_peft(tuned: Tuned, options: ExportOptions, target: Path) -> None:
    """Write a folder that `PeftModel.from_pretrained` reads.

    Args:
        tuned: The adapter and its base.
        options: None are of this format.
        target: An empty folder.

    Raises:
        InputError: for a method with an offset, and a base that does not fit.
    """
    from safetensors.torch import save

    method = tuned.config.method
    if METHODS[method].offset is not NoOffset:
        raise InputError(
            f"format: PEFT's prompt tuning has no offset, which {method} has; take --format lora"
        )
    if tuned.dtype != "auto":
        raise InputError(f"dtype: {tuned.dtype} is given, but a prompt is fp32; leave it out")
    base = find_stored(tuned.name_or_path, tuned.revision, tuned.base_config)
    adapter = adapter_over(base.read_table(), tuned)
    scale = embed_scale_of(meta_model(tuned.base_config, torch.bfloat16, 1).get_input_embeddings())
    with torch.no_grad():
        prompt = (adapter.prompt_rows(torch.float64) * (scale or 1.0)).float()
    m, width = prompt.shape
    config = {
        "peft_type": PLAIN, "task_type": "CAUSAL_LM", "inference_mode": True,
        "base_model_name_or_path": lasting_name(tuned.name_or_path), "revision": tuned.revision,
        "num_virtual_tokens": m, "token_dim": width, "num_transformer_submodules": 1,
        "num_attention_heads": tuned.base_config.num_attention_heads,
        "num_layers": tuned.base_config.num_hidden_layers,
        "prompt_tuning_init": "RANDOM", "prompt_tuning_init_text": None,
        "tokenizer_name_or_path": None,
    }  # fmt: skip
    files = {
        WEIGHTS: save({PROMPT: prompt.contiguous()}, metadata={"format": "pt"}),
        CONFIG_FILE: (json.dumps(config, indent=2) + "\n").encode(),
    }
    write_files(target, files)
    write_peft_card(tuned, target)
