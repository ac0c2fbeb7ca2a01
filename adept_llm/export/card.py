"""Model cards of exported folders."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from adept_llm import __version__
from adept_llm.card import CARD_FILE, model_card, named
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
        f"`{tuned.name_or_path}`{named(tuned.revision)} with its embedding layer tuned by "
        f"adept_llm {__version__}{what}"
    )
    adapter = asdict(tuned.config)
    card = model_card(tuned.name_or_path, adapter, library, [first, *use], tuned.record)
    (target / CARD_FILE).write_text(card, "utf-8")


def write_merged_card(tuned: Tuned, target: Path) -> None:
    """README.md of a merged model."""
    what = (
        " and merged into its table: a stock model of transformers, which needs no other package."
    )
    m = tuned.config.num_virtual_tokens
    use = (
        f"The {m} trained virtual tokens are the special tokens `<|adept_0|>`.. behind the base's "
        "vocabulary; the tokenizer puts them in front of each text by itself, before BOS."
        if m
        else "There are no virtual tokens: texts are those of the base."
    )
    write_card(tuned, target, "transformers", what, [use])
