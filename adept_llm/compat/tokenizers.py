"""The Rust tokenizer inside one of transformers; transformers itself is not imported."""

import copy
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def with_backend(tokenizer: "PreTrainedTokenizerBase", content: str) -> "PreTrainedTokenizerBase":
    """A copy of a fast tokenizer that works by another tokenizer.json.

    transformers 5.17.0 to 5.23.0 keep it as `_tokenizer`, which `backend_tokenizer` reads and
    nothing sets. If that changes, merged tokenizers write no virtual tokens.

    Args:
        tokenizer: a PreTrainedTokenizerFast; its other attributes are kept.
        content: as `backend_tokenizer.to_str()` gives it.
    """
    changed: Any = copy.deepcopy(tokenizer)
    changed._tokenizer = Tokenizer.from_str(content)
    return changed
