"""Answers on standard output while they are written."""

from typing import Any

from transformers import TextStreamer


class Printed(TextStreamer):
    """Prints an answer word by word, without the space around it and without its prompt.

    Args:
        tokenizer: the model's.
    """

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.begun = False
        self.space = ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Print what will not change any more; space when something stands behind it."""
        text = self.space + text if self.begun else text.lstrip()
        shown = text.rstrip()
        self.begun, self.space = self.begun or bool(shown), text[len(shown) :]
        print(shown, end="\n" if stream_end else "", flush=True)
