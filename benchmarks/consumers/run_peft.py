"""Runs in an environment with transformers and PEFT: the LoRA on its extended base."""

import json
import sys
from pathlib import Path

import peft
import torch
import transformers
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.consumers.run_transformers import greedy, speed


def main(case: Path, output: Path) -> None:
    """Compare with what our own unmerged model answers; the adapter switched off between."""
    told = json.loads((case / "expected.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(case / "lora")
    base = AutoModelForCausalLM.from_pretrained(case / "lora" / "base").eval()
    plain_ids = told["plain_prefix"] + told["ids"][0][len(told["prefix"]) :]
    base_speed = speed(base, plain_ids)
    model = PeftModel.from_pretrained(base, case / "lora", adapter_name="mine").eval()
    ids = [tokenizer(text).input_ids for text in told["prompts"]]
    new = [greedy(model, one, told["new_tokens"], told["eos"]) for one in ids]
    with model.disable_adapter():
        stock = AutoModelForCausalLM.from_pretrained(case / "base").eval()
        given = torch.tensor([plain_ids])
        with torch.no_grad():
            gap = model(given).logits[..., : told["words"]] - stock(given).logits
    found = {
        "version": f"peft {peft.__version__}, transformers {transformers.__version__}",
        "ids": sum(a == b for a, b in zip(ids, told["ids"], strict=True)),
        "texts": [tokenizer.decode(one, skip_special_tokens=True) for one in new],
        "tokens_per_second": speed(model, ids[0]), "base_tokens_per_second": base_speed,
        "note": f"off: the base's logits to {gap.abs().max():.0e}",
    }  # fmt: skip
    output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
