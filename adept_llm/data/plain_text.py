"""Plain text, to see what a tuned model still knows of it: {"text": ".."}, one a row."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adept_llm.data.encoded import Encoded
from adept_llm.data.rows import read_rows
from adept_llm.data.sampling import sample
from adept_llm.data.tokens import Splitter
from adept_llm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COLUMN = "text"


def read_texts(path: str | Path, limit: int | None = None, seed: int = 0) -> list[tuple[str, str]]:
    """Read a file of texts.

    Args:
        path: A .jsonl, .json (a list of objects), .csv or .parquet file with a column `text`;
            other columns are passed over.
        limit: Most texts of a seeded sample; None takes all.
        seed: Fixes the sample.

    Returns:
        Pairs of an id such as 'wiki.jsonl:17' and a text.

    Raises:
        InputError: The file is malformed, or a row has no text; names the row.
    """
    rows = read_rows(Path(path))
    found = []
    for row in rows:
        text = row.values.get(COLUMN)
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{row.where}: has no text in column {COLUMN!r}; fill it or remove it")
        found.append((row.id, text))
    return [found[index] for index in sample(len(found), limit, seed)]


def encode_texts(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[tuple[str, str]], max_length: int
) -> list[Encoded]:
    """Tokenise texts of which each token is predicted from those before it; no EOS is added.

    Args:
        tokenizer: A fast one.
        texts: Pairs of id and text.
        max_length: Tokens of each that are read, from its beginning.

    Returns:
        One example for each text of two tokens or more: the first as prompt, the others as target.

    Raises:
        InputError: The tokenizer is slow, or no text has two tokens.
    """
    splitter = Splitter(tokenizer)
    first = max(1, len(splitter.prefix))
    encoded = []
    for (name, _), tokens in zip(texts, splitter.prompts([text for _, text in texts]), strict=True):
        ids = tokens.ids[:max_length]
        if len(ids) > first:
            encoded.append(Encoded(ids[:first], ids[first:], name, -1, len(tokens.ids) - len(ids)))
    if not encoded:
        raise InputError(f"no text has more than {first} tokens to read; give longer ones")
    return encoded
