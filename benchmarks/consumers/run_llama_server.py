"""Runs beside a built llama-server: the GGUF over HTTP, as text, as chat, and drawn at T = 2."""

import json
import os
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from openai import OpenAI

from benchmarks.consumers.http_server import ask, served

HERE = Path(sys.prefix)
# one thread, 512 tokens for each of four requests, and all in float32: by default the cache holds
# half precision and attention computes with it, which decides between words that lie close
SERVER = (
    str(HERE / "build" / "bin" / "llama-server"), "-t", "1", "-c", "2048", "-np", "4",
    "-ctk", "f32", "-ctv", "f32", "-fa", "off",
)  # fmt: skip
# all words at their own probability, beyond the end of a text
HOT = {
    "temperature": 2.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0,
    "ignore_eos": True, "return_tokens": True,
}  # fmt: skip


def name_of(server: str) -> str:
    """Server and source."""
    return f"{server} of {json.loads((HERE / 'built.json').read_text())['source']}"


def texts(address: str, start: str, told: dict[str, Any]) -> dict[str, Any]:
    """The prompts with the card's text in front: ids by /tokenize, answers by /completion."""
    given = [start + prompt for prompt in told["prompts"]]
    read = [ask(address, "tokenize", {"content": t, "add_special": True})["tokens"] for t in given]
    options = {"n_predict": told["new_tokens"], "temperature": 0}
    answers = [ask(address, "completion", {"prompt": text, **options}) for text in given]
    same = zip(read, answers, told["ids"], strict=True)
    return {
        "ids": sum(r == ids and a["tokens_evaluated"] == len(ids) for r, a, ids in same),
        "texts": [answer["content"] for answer in answers],
    }


def chats(address: str, told: dict[str, Any]) -> str:
    """The same questions as chat: ids of the written template, their number, and the answers."""
    client = OpenAI(base_url=f"{address}/v1", api_key="none", timeout=300)
    count, ids, lengths, same = len(told["chats"]), 0, 0, 0
    for chat in told["chats"]:
        messages = [{"role": "user", "content": chat["content"]}]
        text = ask(address, "apply-template", {"messages": messages})["prompt"]
        body = {"content": text, "add_special": True}
        ids += ask(address, "tokenize", body)["tokens"] == chat["ids"]
        out = client.chat.completions.create(
            model="any", messages=messages, temperature=0, max_tokens=told["new_tokens"]
        )
        lengths += out.usage.prompt_tokens == len(chat["ids"])
        same += out.choices[0].message.content.strip() == chat["text"].strip()
    return (
        f"chat: ids of {ids} of {count}, prompt_tokens of {lengths}, greedy texts of {same} by the "
        "file's template"
    )


def speed(address: str, ids: Sequence[int]) -> float:
    """Tokens a second of one answer."""
    options = {"n_predict": 64, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
    best = 0.0
    for _ in range(2):
        start = time.perf_counter()
        ask(address, "completion", {"prompt": ids, **options})
        best = max(best, 64 / (time.perf_counter() - start))
    return round(best, 1)


def drawn(address: str, ids: Sequence[int], total: int) -> list[int]:
    """Ids that the model writes behind a prompt at temperature 2, four texts at a time."""

    def one(seed: int) -> list[int]:
        body = {"prompt": ids, "n_predict": min(200, total), "seed": seed, **HOT}
        return ask(address, "completion", body)["tokens"]

    with ThreadPoolExecutor(4) as pool:
        return [i for tokens in pool.map(one, range(max(1, total // 200))) for i in tokens]


def main(case: Path, output: Path) -> None:
    """Compare with what our own unmerged model answers."""
    told = json.loads((case / "expected.json").read_text())
    card = (case / "gguf" / "README.md").read_text()
    match = re.search(r"^<\|adept_0\|>.*$", card, re.M)
    assert match
    found: dict[str, Any] = {"version": name_of("llama-server")}
    with served([*SERVER, "-m", str(case / "gguf" / "model.gguf"), "--jinja"]) as address:
        found |= texts(address, match.group(), told)
        found["note"] = chats(address, told)
        found["tokens_per_second"] = speed(address, told["ids"][0])
        ids = drawn(address, told["ids"][0], int(os.environ.get("SAMPLED", "10000")))
        found["sampled"] = {"drawn": len(ids), "virtual": sum(i >= told["words"] for i in ids)}
    plain = told["plain_prefix"] + told["ids"][0][len(told["prefix"]) :]
    with served([*SERVER, "-m", str(case / "base.gguf")]) as address:
        found["base_tokens_per_second"] = speed(address, plain)
    minutes = json.loads((HERE / "built.json").read_text())["processor_seconds"] / 60
    found["note"] += f"; built in {minutes:.0f} minutes of processor time"
    output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
