"""The model card of what leaves the toolkit: what it is, how it was tuned, how it is used."""

import json
from collections.abc import Mapping
from typing import Any

from adept_llm import __version__
from adept_llm.adapters.virtual_head import VirtualRow
from adept_llm.tuned import Tuned


def model_card(tuned: Tuned, virtual: VirtualRow) -> str:
    """README.md of a merged model, with what the run's record knows.

    Args:
        tuned: The adapter, and what its base is called.
        virtual: The row of its virtual tokens in the head.
    """
    config, record = tuned.config, tuned.record
    front = {"base_model": tuned.name_or_path, "library_name": "transformers"}
    tags = ["adept_llm", config.method]
    lines = ["---", *(f"{name}: {json.dumps(value)}" for name, value in front.items())]
    lines += ["pipeline_tag: text-generation", f"tags: {json.dumps(tags)}", "---", ""]
    lines += [
        f"# {tuned.name_or_path.rstrip('/').rsplit('/', 1)[-1]}, tuned by {config.method}",
        "",
    ]
    lines += [
        f"`{tuned.name_or_path}`{_at(tuned.revision)} with its embedding layer tuned by "
        f"adept_llm {__version__} and merged into its table: a stock model of "
        "transformers, which needs no other package.",
        "",
        f"The {config.num_virtual_tokens} trained virtual tokens are the special tokens "
        "`<|adept_0|>`.. behind the base's vocabulary; the tokenizer puts them in front of each "
        f"text by itself, before BOS. V{str(virtual)[1:]}."
        if config.num_virtual_tokens
        else "There are no virtual tokens: texts are those of the base.",
    ]
    if record:
        data = record.arguments.get("data", {})
        task = data.get("task") or data.get("train_file")
        lines += ["", "| | |", "| --- | --- |"]
        rows: dict[str, Any] = {
            "learnt": task, "template": record.data.template,
            "training rows": record.data.train_rows,
            "bottleneck size": config.bottleneck_size or None, "date": record.date,
            **_metrics("validation", (record.results or {}).get("after")),
            **_metrics("test", (record.results or {}).get("test")),
        }  # fmt: skip
        lines += [f"| {name} | {value} |" for name, value in rows.items() if value is not None]
    return "\n".join(lines) + "\n"


def _at(revision: str | None) -> str:
    return f" at `{revision}`" if revision else ""


def _metrics(split: str, values: Mapping[str, float] | None) -> dict[str, str]:
    return {f"{split} {name}": f"{value:.4f}" for name, value in (values or {}).items()}
