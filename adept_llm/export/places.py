"""Which rows of a table can hold a prompt: those that no text reads."""

import json
import re
from typing import TYPE_CHECKING, Any

from adept_llm.adapters.merge import virtual_token_names, with_further_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Llama 3, Gemma, Mistral from v0.3 on
RESERVED = re.compile(r"<\|reserved_special_token_\d+\|>|<unused\d+>|\[control_\d+\]")
ROLES = ("bos", "eos", "unk", "pad", "sep", "cls", "mask")

Places = tuple["PreTrainedTokenizerBase", dict[str, int]]
"""A tokenizer and, of its tokens, name -> id of those that hold the prompt, in order."""


def free_places(tokenizer: "PreTrainedTokenizerBase", rows: int, count: int) -> Places | None:
    """Places in the base's own table; None where there are too few.

    Rows behind the tokenizer's last token come first (Qwen's tables have hundreds), then tokens
    that were reserved for later use. Prompts of any length so have the same first places.

    Args:
        tokenizer: the base's, a fast one; it is not changed.
        rows: of the base's table.
        count: m.

    Raises:
        InputError: for a tokenizer that is slow or larger than the table.
    """
    unused = min(max(rows - len(tokenizer), 0), count)
    longer = with_further_tokens(tokenizer, len(tokenizer), unused)
    names = virtual_token_names(tokenizer, unused)
    places = {name: len(tokenizer) + i for i, name in enumerate(names)}
    places |= dict(_reserved(tokenizer, rows)[: count - unused])
    return (longer, places) if len(places) == count else None


def _reserved(tokenizer: Any, rows: int) -> list[tuple[str, int]]:
    """Reserved tokens that have not been given a task, such as padding, since."""
    roles = {getattr(tokenizer, f"{role}_token_id") for role in ROLES}
    template = json.dumps(tokenizer.chat_template, ensure_ascii=False)
    found = ((str(token), i) for i, token in sorted(tokenizer.added_tokens_decoder.items()))
    return [
        (name, i)
        for name, i in found
        if RESERVED.fullmatch(name) and i < rows and i not in roles and name not in template
    ]


def appended_places(
    tokenizer: "PreTrainedTokenizerBase", first: int, more: int, count: int
) -> Places:
    """The first m of the rows behind a table.

    Args:
        tokenizer: the base's, a fast one; it is not changed.
        first: rows of the base's table.
        more: rows that were appended, all of which get a token.
        count: m.

    Raises:
        InputError: for a tokenizer that is slow or larger than the table.
    """
    longer = with_further_tokens(tokenizer, first, more)
    names = virtual_token_names(tokenizer, count)
    return longer, {name: first + i for i, name in enumerate(names)}
