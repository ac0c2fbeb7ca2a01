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
    "Ollama, LM Studio: no package of them here; their files follow their documentation.",
    "SGLang: not tried.",
)


def counted(found: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """A consumer's result beside what was expected of it, which other cases do not change.

    Args:
        found: With texts and lora_texts, where it has them; else it is as it was.
        told: The case.

    Returns:
        found, with `of` (prompts), `same` and `lora_same` (texts), `labels` (right answers) and
        `own_labels` (those of our own model).
    """
    counts = {"of": len(told["prompts"])}
    for texts, same in (("texts", "same"), ("lora_texts", "lora_same")):
        if texts in found:
            counts[same] = _same(found[texts], told["texts"])
    if "texts" in found and told["answers"]:
        counts["labels"] = _labels(found["texts"], told["answers"])
        counts["own_labels"] = _labels(told["texts"], told["answers"])
    return found | counts


def write_table(results: Path, cases: Sequence[str]) -> None:
    """README.md of the folder of results, with the rows of the named cases."""
    lines = ["# Consumers of exported adapters", "", *_explained(), "", _row(HEAD)]
    lines.append(_row(["---"] * len(HEAD)))
    for path in sorted(results.glob("*.json")):
        case = next((one for one in cases if path.stem.endswith(f"-{one}")), None)
        if case is None:
            continue
        name = path.stem.removesuffix(f"-{case}")
        lines.append(_row([name, *_cells(json.loads(path.read_text()), case)]))
    left_out = list(NOT_RUN)
    if not any(results.glob("vllm-serve-*.json")):
        left_out.append("`vllm serve`: its script is here, and did not end in time.")
    lines += ["", "Not run:", "", *(f"- {one}" for one in left_out)]
    (results / "README.md").write_text("\n".join(lines) + "\n", "utf-8")


def _explained() -> list[str]:
    return [
        "Written by `python -m benchmarks.consumers`, in float32 on one thread of a busy CPU. ids",
        "and greedy texts: how many of 50 are those of our own unmerged model; labels: how many of",
        "the 50 rows of SST-2 the greedy text answers rightly, and our own model's text (lines",
        "of one base may be of different short runs); speed: one answer of 64 tokens.",
    ]


def _cells(found: dict[str, Any], base: str) -> list[str]:
    if "failed" in found:
        return ["", base, *["–"] * 6, found["failed"]]
    count = found["of"]
    notes = [found["note"]] if "note" in found else []
    if "merged" in found:  # lm-eval
        for kind in ("merged", "unmerged"):
            one = found[kind]
            notes.append(
                f"{kind}: accuracy {one['accuracy']:.4f}, log-likelihoods to {one['gap']:.0e}"
            )
        notes.append(f"evaluate: {found['evaluate']:.4f}; a chat's ids: {_chat(found['chat'])}")
    if "lora_same" in found:
        notes.append(f"LoRA of the table: {found['lora_same']} of {count} texts")
    if "lora_error" in found:
        notes.append(f"LoRA of the table: {found['lora_error']}")
    sampled = found.get("sampled")
    return [
        found["version"], base,
        f"{found['ids']} of {count}" if "ids" in found else "–",
        f"{found['same']} of {count}" if "same" in found else "–",
        f"{found['labels']}, own {found['own_labels']}" if "labels" in found else "–",
        _number(found.get("tokens_per_second")), _number(found.get("base_tokens_per_second")),
        f"{sampled['virtual']} of {sampled['drawn']:,}" if sampled else "–",
        "; ".join(notes),
    ]  # fmt: skip


def _same(texts: list[str], expected: list[str]) -> int:
    return sum(a.strip() == b.strip() for a, b in zip(texts, expected, strict=True))


def _chat(lengths: dict[str, int]) -> str:
    return ", ".join(f"{name} {length}" for name, length in lengths.items())


def _labels(texts: list[str], answers: list[str]) -> int:
    pairs = zip(texts, answers, strict=True)
    return sum(text.strip().startswith(answer) for text, answer in pairs)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(one.replace('|', '/') for one in cells)} |"
