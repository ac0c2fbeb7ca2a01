"""PEFT's PromptTuning and LoRA on the same base and texts, dynamically padded, under autocast."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch

from adept_llm.data import Encoded
from benchmarks.bases import stock_batch
from benchmarks.gpu.random_base import random_base
from benchmarks.gpu.setting import Setting, Skipped
from benchmarks.gpu.steps import timed


def run(kind: str, setting: Setting) -> dict[str, Any]:
    """Tokens/s and utilisation, as `steps.timed` tells them.

    Args:
        kind: prompt_tuning, with as many virtual tokens, or lora, of rank 16 on q and v.
        setting: the setting.

    Raises:
        Skipped: without PEFT.
    """
    if not find_spec("peft"):
        raise Skipped("peft is not installed")
    import peft

    chosen: Any = {
        "prompt_tuning": lambda: peft.PromptTuningConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=setting.virtual
        ),
        "lora": lambda: peft.LoraConfig(
            task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"]
        ),
    }
    model = peft.get_peft_model(random_base(setting), chosen[kind]()).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    half = setting.dtype == torch.bfloat16

    def step(batch: Sequence[Encoded]) -> None:
        given = {name: value.to(setting.device) for name, value in stock_batch(list(batch)).items()}
        with torch.autocast(setting.device.type, torch.bfloat16, enabled=half):
            loss = model(**given, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return timed(setting, step)
