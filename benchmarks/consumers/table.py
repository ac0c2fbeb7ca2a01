"""The status table of what consumers answered."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HEAD = (
    "consumer", "version", "base", "ids", "greedy texts", "labels", "tokens/s",
    "base with a plain prefix", "virtual tokens drawn at T = 2", "note",
)  # fmt: skip


NOT_RUN = (
    "llama-server of llama.cpp: no package of it here, and its build takes hours on this machine; "
    "its engine and the file's chat template are run by node-llama-cpp.",
    "Ollama, LM Studio: no package of them here; their files follow their documentation.",
    "`vllm serve`, SGLang: not tried.",
)


def write_table(results: Path, cases: Sequence[Path]) -> None:
    """README.md of the folder of results."""
    lines = ["# Consumers of exported adapters", "", *_explained(), "", _row(HEAD)]
    lines.append(_row(["---"] * len(HEAD)))
    for path in sorted(results.glob("*.json")):
        case = next((one for one in cases if path.stem.endswith(f"-{one.name}")), None)
        if case is None:
            continue
        told = json.loads((case / "expected.json").read_text())
        name = path.stem.removesuffix(f"-{case.name}")
        lines.append(_row([name, *_cells(json.loads(path.read_text()), told, case.name)]))
    lines += ["", "Not run:", "", *(f"- {one}" for one in NOT_RUN)]
    (results / "README.md").write_text("\n".join(lines) + "\n", "utf-8")


def _explained() -> list[str]:
    return [
        "Written by `python -m benchmarks.consumers`, in float32 on one thread of a busy CPU. ids",
        "and greedy texts: how many of 50 are those of our own unmerged model; labels: how many of",
        "the 50 rows of SST-2 the greedy text answers rightly; speed: one answer of 64 tokens.",
    ]


def _cells(found: dict[str, Any], told: dict[str, Any], base: str) -> list[str]:
    if "failed" in found:
        return ["", base, *["–"] * 6, found["failed"]]
    count = len(told["prompts"])
    notes = [found["note"]] if "note" in found else []
    if "merged" in found:  # lm-eval
        for kind in ("merged", "unmerged"):
            one = found[kind]
            notes.append(
                f"{kind}: accuracy {one['accuracy']:.4f}, log-likelihoods to {one['gap']:.0e}"
            )
        notes.append(f"evaluate: {found['evaluate']:.4f}; a chat's ids: {_chat(found['chat'])}")
    if "lora_texts" in found:
        notes.append(f"LoRA of the table: {_same(found['lora_texts'], told)} of {count} texts")
    if "lora_error" in found:
        notes.append(f"LoRA of the table: {found['lora_error']}")
    sampled = found.get("sampled")
    texts = found.get("texts")
    return [
        found["version"], base,
        f"{found['ids']} of {count}" if "ids" in found else "–",
        f"{_same(texts, told)} of {count}" if texts else "–",
        _labels(texts, told) if texts else "–",
        _number(found.get("tokens_per_second")), _number(found.get("base_tokens_per_second")),
        f"{sampled['virtual']} of {sampled['drawn']:,}" if sampled else "–",
        "; ".join(notes),
    ]  # fmt: skip


def _same(texts: list[str], told: dict[str, Any]) -> int:
    return sum(a.strip() == b.strip() for a, b in zip(texts, told["texts"], strict=True))


def _chat(lengths: dict[str, int]) -> str:
    return ", ".join(f"{name} {length}" for name, length in lengths.items())


def _labels(texts: list[str], told: dict[str, Any]) -> str:
    if not told["answers"]:
        return "–"
    right = sum(
        text.strip().startswith(answer) for text, answer in zip(texts, told["answers"], strict=True)
    )
    return f"{right} of {len(texts)}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(one.replace('|', '/') for one in cells)} |"
