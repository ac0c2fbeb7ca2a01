"""Model cards of exported folders."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from adept_llm import __version__
from adept_llm.adapters.merge import virtual_token_names
from adept_llm.adapters.virtual_head import VirtualRow
from adept_llm.card import CARD_FILE, model_card, named, place, plain_card, shown
from adept_llm.tuned import Tuned


def write_card(tuned: Tuned, target: Path, library: str, what: str, use: Sequence[str]) -> None:
    """Write README.md.

    Args:
        tuned: What is exported.
        target: The folder.
        library: What reads it, by the hub's name of it.
        what: What it is, as a sentence goes on that begins with the base and its tuned layer.
        use: Paragraphs: how it is used and served.
    """
    first = (
        f"`{shown(tuned.name_or_path)}`{named(tuned.revision)} with its embedding layer tuned by "
        f"adept_llm {__version__}{what}"
    )
    adapter = asdict(tuned.config)
    card = model_card(tuned.name_or_path, adapter, library, [first, *use], tuned.record)
    (target / CARD_FILE).write_text(card, "utf-8")


def write_merged_card(tuned: Tuned, target: Path, virtual: VirtualRow) -> None:
    """README.md of a merged model, and what keeps its virtual tokens from being sampled."""
    what = (
        " and merged into its table: a stock model of transformers, which needs no other package."
    )
    m = tuned.config.num_virtual_tokens
    use = (
        f"The {m} trained virtual tokens are the special tokens `{_first(tuned)}`.. behind the "
        "base's vocabulary; the tokenizer puts them in front of each text by itself, before BOS. "
        f"V{str(virtual)[1:]}."
        if m
        else "There are no virtual tokens: texts are those of the base."
    )
    write_card(tuned, target, "transformers", what, [use])


def _first(tuned: Tuned) -> str:
    """Name of the first virtual token."""
    return virtual_token_names(tuned.tokenizer, 1)[0]


def write_gguf_card(tuned: Tuned, target: Path, file: str, start: str) -> None:
    """README.md of a merged model in GGUF.

    Args:
        tuned: What is exported.
        target: The folder.
        file: Of the weights.
        start: What a text begins with that no chat template writes.
    """
    what = " and merged into its table, as GGUF for llama.cpp, Ollama and LM Studio."
    behind = ", behind its virtual tokens" if tuned.config.num_virtual_tokens else ""
    use = [
        f"```\nllama-server -m {file} --jinja\nollama create mine -f Modelfile\n```",
        f"The chat template writes conversations as the adapter was trained on them{behind}: a "
        "system's message takes the place of a row's instruction, the user's that of its input.",
    ]
    if start:
        use.append(
            "Text that is completed without a chat template has to begin with these tokens; no BOS "
            f"is added:\n\n```\n{start}\n```"
        )
    write_card(tuned, target, "gguf", what, use)


def write_extended_card(tuned: Tuned, target: Path, more: int) -> None:
    """README.md of an extended base, which knows no adapter."""
    base = shown(tuned.name_or_path)
    text = (
        f"`{base}`{named(tuned.revision)} with {more} rows of zeros behind its table, and a head "
        "of its own; all other weights are the base's. It carries the adapters that `adept-llm "
        "export --format lora --extended_base` writes; their prompts take the place of the first "
        f"of these rows. Its tokenizer knows them as `{_first(tuned)}`.. and puts none of them in "
        "front of a text."
    )
    (target / CARD_FILE).write_text(plain_card(tuned.name_or_path, "transformers", [text]), "utf-8")


def write_lora_card(
    tuned: Tuned, target: Path, carrier: str, rank: int, places: Sequence[int]
) -> None:
    """README.md of a LoRA.

    Args:
        tuned: What is exported.
        target: The folder.
        carrier: The model that it is loaded on.
        rank: Its rank.
        places: Ids of the tokens that hold the prompt.
    """
    what = (
        f", as a LoRA of rank {rank} of the embedding layer in PEFT's format (fp32, scaling 1). "
        f"It is loaded on `{shown(carrier)}`, beside those of other tasks."
    )
    code = [
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"model = AutoModelForCausalLM.from_pretrained({place(carrier)!r})",
        'model = PeftModel.from_pretrained(model, "this folder")',
        'tokenizer = AutoTokenizer.from_pretrained("this folder")',
        "```",
    ]
    prompt = "There are no virtual tokens: texts are those of the base."
    if places:
        prompt = (
            f"Each text begins with the {len(places)} tokens {_spans(places)}, before BOS, which "
            "only mean something to this adapter. The tokenizer in this folder puts them there by "
            "itself, and its chat template in front of each conversation. A server that has one "
            "tokenizer for all adapters has to be given ids, or the text with these tokens and BOS "
            "written out and `add_special_tokens` off."
        )
    write_card(tuned, target, "peft", what, ["\n".join(code), prompt])


def write_peft_card(tuned: Tuned, target: Path) -> None:
    """README.md of a prompt in PEFT's format."""
    m = tuned.config.num_virtual_tokens
    at = f", revision={tuned.revision!r}" if tuned.revision else ""
    code = [
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        "",
        f"model = AutoModelForCausalLM.from_pretrained({place(tuned.name_or_path)!r}{at})",
        'model = PeftModel.from_pretrained(model, "this folder")',
        "```",
    ]
    what = f", as {m} rows of PEFT's prompt tuning, which PEFT puts in front of each text."
    write_card(tuned, target, "peft", what, ["\n".join(code)])


def _spans(ids: Sequence[int]) -> str:
    """Ids as spans: 5..8, 11."""
    spans: list[list[int]] = []
    for i in ids:
        if spans and i == spans[-1][-1] + 1:
            spans[-1][1:] = [i]
        else:
            spans.append([i])
    return ", ".join("..".join(map(str, span)) for span in spans)
