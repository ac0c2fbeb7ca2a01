"""Runs in an environment with transformers alone: the merged folder, as any stock one."""

import json
import sys
import time
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(1)


def greedy(model, ids, count, eos):
    """New ids up to the end."""
    given = torch.tensor([ids])
    with torch.no_grad():
        out = model.generate(
            given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=count
        )
    new = out[0, len(ids) :].tolist()
    return new[: new.index(eos)] if eos in new else new


def speed(model, ids, tokens=64):
    """Tokens a second of one answer behind these ids, the better of two."""
    given, best = torch.tensor([ids]), 0.0
    for _ in range(2):
        start = time.perf_counter()
        with torch.no_grad():
            model.generate(
                given, attention_mask=torch.ones_like(given), do_sample=False,
                max_new_tokens=tokens, min_new_tokens=tokens,
            )  # fmt: skip
        best = max(best, tokens / (time.perf_counter() - start))
    return round(best, 1)


def sampled_virtual(model, ids, words, total=10_000, rows=50):
    """How many virtual tokens are among so many drawn at temperature 2 with nothing suppressed."""
    torch.manual_seed(0)
    model.generation_config.suppress_tokens = None
    given = torch.tensor([ids] * rows)
    with torch.no_grad():
        out = model.generate(
            given, attention_mask=torch.ones_like(given), do_sample=True, temperature=2.0,
            top_k=0, top_p=1.0, max_new_tokens=total // rows, min_new_tokens=total // rows,
        )[:, len(ids) :]  # fmt: skip
    return {"drawn": out.numel(), "virtual": int((out >= words).sum())}


def main(case: Path, output: Path) -> None:
    """Compare with what our own unmerged model answers."""
    told = json.loads((case / "expected.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(case / "hf")
    model = AutoModelForCausalLM.from_pretrained(case / "hf").eval()
    base = AutoModelForCausalLM.from_pretrained(case / "base").eval()
    ids = [tokenizer(text).input_ids for text in told["prompts"]]
    new = [greedy(model, one, told["new_tokens"], told["eos"]) for one in ids]
    texts = [tokenizer.decode(one, skip_special_tokens=True) for one in new]
    plain = told["plain_prefix"] + ids[0][len(told["prefix"]) :]
    found = {
        "version": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "ids": sum(a == b for a, b in zip(ids, told["ids"], strict=True)),
        "texts": texts,
        "tokens_per_second": speed(model, ids[0]), "base_tokens_per_second": speed(base, plain),
        "sampled": sampled_virtual(model, ids[0], told["words"]),
    }  # fmt: skip
    output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
