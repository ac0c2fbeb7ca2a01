"""What consumers read and what they have to answer, by our own unmerged model in float32."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from adept_llm import AdeptConfig, get_adapter, inject_adapter, save_adapter
from adept_llm.adapters.merge import tokenizer_with_virtual_tokens, virtual_token_names
from adept_llm.cli.main import main as adept_llm
from adept_llm.data.templates import render
from adept_llm.evaluation.label_scoring import score_labels
from adept_llm.export.gguf import bos_text
from adept_llm.export.llama_cpp import convert, find_llama_cpp
from adept_llm.tasks.loading import load_split
from adept_llm.tasks.registry import get_task
from adept_llm.tuned import Tuned

PROMPTS, CHATS, NEW_TOKENS, ROWS = 50, 20, 24, 200
STORIES = [
    f"{who} {what}"
    for who in ("The cat", "A girl named Lily", "One day, Tom", "The old dog", "Her mom")
    for what in (
        "went to the", "saw a big", "was very sad", "liked to play", "found a red", "said hello to",
        "ran and ran", "had a new", "looked at the", "wanted to",
    )
]  # fmt: skip


def float32_base(base: Path, folder: Path) -> Path:
    """A base in float32, so that engines differ by rounding alone; its tokenizer as it is."""
    if not (folder / "config.json").exists():
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).save_pretrained(folder)
        for path in base.iterdir():
            if "token" in path.name or path.suffix in (".jinja", ".model"):
                (folder / path.name).write_bytes(path.read_bytes())
    return folder


def untrained_adapter(base: Path, folder: Path, seed: int = 0) -> Path:
    """A small adapter that was made and not trained."""
    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = inject_adapter(model, AdeptConfig("adept", 8, 5))
    with torch.no_grad():
        get_adapter(model).offset_parameters()["offset.w2"].normal_(0, 0.05)
    save_adapter(model, folder)
    return folder


def write_case(folder: Path, base: Path, adapter: Path, data_dir: Path | None) -> None:
    """Exports of an adapter, its base as GGUF, and expected.json; rows are SST-2's if data is."""
    folder.mkdir(parents=True, exist_ok=True)
    base = float32_base(base, folder / "base")
    for kind in ("hf", "gguf", "lora"):
        if not (folder / kind).exists():
            code = adept_llm([
                "export", str(adapter), "--format", kind, "--output_dir", str(folder / kind),
                "--model_name_or_path", str(base),
            ])  # fmt: skip
            assert code == 0, kind
    if not (folder / "base.gguf").exists():
        convert(find_llama_cpp(None), base, folder / "base.gguf", torch.float32)
    if not (folder / "expected.json").exists():
        tuned = Tuned.open(adapter, model_name_or_path=str(base))
        content = expected(tuned, data_dir)
        (folder / "expected.json").write_text(json.dumps(content, indent=1) + "\n")


def write_two(folder: Path) -> None:
    """A second adapter of a case's extended base; the base and both LoRAs as GGUF."""
    two, shared = folder / "two", folder / "lora" / "base"
    if (two / "expected.json").exists():
        return
    two.mkdir(exist_ok=True)
    adapter = untrained_adapter(folder / "base", two / "adapter", 1)
    if not (two / "lora").exists():
        code = adept_llm([
            "export", str(adapter), "--format", "lora", "--output_dir", str(two / "lora"),
            "--extended_base", str(shared), "--model_name_or_path", str(folder / "base"),
        ])  # fmt: skip
        assert code == 0
    llama_cpp = find_llama_cpp(None)
    convert(llama_cpp, shared, two / "base.gguf", torch.float32)
    for lora, name in ((folder / "lora", "first"), (two / "lora", "second")):
        command = [str(llama_cpp / "convert_lora_to_gguf.py"), str(lora), "--base", str(shared)]
        command += ["--outtype", "f32", "--outfile", str(two / f"{name}.gguf")]
        environment = os.environ | {"PYTHONPATH": str(llama_cpp / "gguf-py")}
        subprocess.run([sys.executable, *command], check=True, env=environment)
    content = expected(Tuned.open(adapter, model_name_or_path=str(folder / "base")), None)
    (two / "expected.json").write_text(json.dumps(content, indent=1) + "\n")


def expected(tuned: Tuned, data_dir: Path | None) -> dict[str, Any]:
    """Prompts, ids, greedy answers, and the rows of a task."""
    model: Any = tuned.model
    layer = get_adapter(model)
    tokenizer = tokenizer_with_virtual_tokens(tuned.tokenizer, layer)
    found: dict[str, Any] = {"words": layer.table.vocab_size, "prefix": layer.virtual_token_ids}
    names = "".join(virtual_token_names(tuned.tokenizer, len(layer.virtual_token_ids)))
    found["start"] = names + bos_text(tuned.tokenizer)
    texts, answers = STORIES, None
    if data_dir:
        task = get_task("sst2")
        rows = load_split(task, "validation", str(data_dir))[:ROWS]
        texts = [render("plain", row, tuned.tokenizer).text for row in rows]
        answers = [row.target for row in rows]
        words = list(task.labels.values())
        labels = tuned.encoder.label_ids(words)
        encoded = tuned.encoder.encode_all(rows)[0]
        scores = score_labels(model, tuned.batcher(), encoded, [labels] * len(rows))
        found["labels"] = words
        found["rows"] = [
            {"text": text, "gold": words.index(answer), "scores": one.tolist()}
            for text, answer, one, row in zip(texts, answers, scores, encoded, strict=True)
            if not row.truncated  # others know no max_length
        ]
    found["prompts"] = texts[:PROMPTS]
    found["answers"] = answers and answers[:PROMPTS]
    found["ids"] = [tokenizer(text).input_ids for text in texts[:PROMPTS]]
    found["plain_prefix"] = (tuned.tokenizer(" ".join(STORIES)).input_ids * 4)[
        : len(layer.virtual_token_ids)
    ]
    eos = tuned.tokenizer.eos_token_id
    found["greedy"] = greedy(model, found["ids"], eos)
    found["texts"] = [tokenizer.decode(ids, skip_special_tokens=True) for ids in found["greedy"]]
    found["eos"], found["new_tokens"] = eos, NEW_TOKENS
    contents = [text.removesuffix("\nAnswer:") for text in found["prompts"][:CHATS]]
    asked = [tokenizer(f"{content}\nAnswer:").input_ids for content in contents]
    found["chats"] = answered(tuned, contents, asked)
    found["base_chats"] = []
    if tuned.tokenizer.chat_template:
        asked = [
            [*layer.virtual_token_ids, *tuned.tokenizer.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True,
                return_dict=False,
            )]
            for content in contents
        ]  # fmt: skip
        found["base_chats"] = answered(tuned, contents, asked)
    return found


def answered(tuned: Tuned, contents: list[str], asked: list[list[int]]) -> list[dict[str, Any]]:
    """Questions of one user's message each, the ids that a chat has to make of it, the answer."""
    answers = greedy(tuned.model, asked, tuned.tokenizer.eos_token_id)
    texts = [tuned.tokenizer.decode(ids, skip_special_tokens=True) for ids in answers]
    return [
        {"content": content, "ids": ids, "text": text}
        for content, ids, text in zip(contents, asked, texts, strict=True)
    ]


def greedy(model: Any, prompts: list[list[int]], eos: int | None) -> list[list[int]]:
    """What a model writes behind each prompt until the end of the text."""
    found = []
    for ids in prompts:
        given = torch.tensor([ids])
        with torch.no_grad():
            out = model.generate(
                given, attention_mask=torch.ones_like(given), do_sample=False,
                max_new_tokens=NEW_TOKENS,
            )  # fmt: skip
        new = out[0, len(ids) :].tolist()
        found.append(new[: new.index(eos)] if eos in new else new)
    return found
