"""The model card of what a run leaves and of what is exported: what it is, how it is used."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adept_llm.record import RunRecord

CARD_FILE = "README.md"
UNNAMED = "an unnamed base"
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def model_card(
    base: str,
    adapter: Mapping[str, Any],
    library: str,
    paragraphs: Sequence[str],
    record: RunRecord | None = None,
) -> str:
    """The content of README.md.

    Args:
        base: The base's name or folder.
        adapter: The adapter's configuration, as in run.json.
        library: What reads the folder, by the hub's name of it.
        paragraphs: What it is and how it is used.
        record: Of the run; with it come the task and the metrics.
    """
    method = adapter["method"]
    lines = [_head(base, library, f", tuned by {method}", ["adept_llm", method], paragraphs)]
    if record:
        lines += ["", "| | |", "| --- | --- |", *_facts(adapter, record)]
    return "\n".join(lines) + "\n"


def plain_card(base: str, library: str, paragraphs: Sequence[str]) -> str:
    """The same of what holds no adapter, see `model_card`."""
    return _head(base, library, ", extended", ["adept_llm"], paragraphs) + "\n"


def _head(
    base: str, library: str, made: str, tags: Sequence[str], paragraphs: Sequence[str]
) -> str:
    front: dict[str, Any] = {}
    # the hub refuses cards whose base is a folder of some machine
    if _on_hub(base):
        front["base_model"] = base
    front |= {"library_name": library, "pipeline_tag": "text-generation", "tags": [*tags]}
    lines = ["---", *(f"{name}: {json.dumps(value)}" for name, value in front.items()), "---", ""]
    lines += [f"# {shown(base).rsplit('/', 1)[-1]}{made}"]
    return "\n".join([*lines, *(f"\n{paragraph}" for paragraph in paragraphs)])


def adapter_card(
    base: str, revision: str | None, adapter: Mapping[str, Any], record: RunRecord | None = None
) -> str:
    """README.md of an adapter in this package's own format.

    Args:
        base: The base's name or folder.
        revision: Its commit on the hub.
        adapter: The adapter's configuration.
        record: As in `model_card`.
    """
    at = f", revision={revision!r}" if revision else ""
    paragraphs = [
        f"An adapter of adept_llm for `{shown(base)}`{named(revision)}: the trained values of its "
        "embedding layer, and nothing of the base.",
        "\n".join(
            [
                "```python",
                "from transformers import AutoModelForCausalLM",
                "from adept_llm import load_adapter",
                "",
                f"model = AutoModelForCausalLM.from_pretrained({place(base)!r}{at})",
                'model = load_adapter(model, "this folder")',
                "```",
            ]
        ),
        "`adept-llm generate --adapter FOLDER --prompt ..` answers with it, and "
        "`adept-llm export FOLDER --format F --output_dir DIR` writes what servers read.",
    ]
    return model_card(base, adapter, "adept_llm", paragraphs, record)


def shown(base: str) -> str:
    """A base as cards name it: they are published, and tell no folder of this machine."""
    return base if _on_hub(base) else Path(base).resolve().name


def place(base: str) -> str:
    """The same where code asks for the base."""
    return base if base == UNNAMED or _on_hub(base) else f"the folder {shown(base)}"


def _on_hub(base: str) -> bool:
    return bool(HUB_NAME.fullmatch(base)) and not Path(base).exists()


def named(revision: str | None) -> str:
    """A commit, to be put behind the base's name."""
    return f" at `{revision}`" if revision else ""


def _facts(adapter: Mapping[str, Any], record: RunRecord) -> list[str]:
    data = record.arguments.get("data", {})
    results = record.results or {}
    own = data.get("train_file")
    rows: dict[str, Any] = {
        # cards are published, and a folder of this machine means nothing elsewhere
        "learnt": data.get("task") or (own and Path(own).name),
        "template": record.data.template,
        "training rows": record.data.train_rows,
        "virtual tokens": adapter.get("num_virtual_tokens"),
        "bottleneck size": adapter.get("bottleneck_size") or None,
        "date": record.date,
        **_metrics("validation", results.get("after")),
        **_metrics("test", results.get("test")),
    }
    return [f"| {name} | {value} |" for name, value in rows.items() if value is not None]


def _metrics(split: str, values: Mapping[str, float] | None) -> dict[str, str]:
    return {f"{split} {name}": f"{value:.4f}" for name, value in (values or {}).items()}
