"""adept-llm merge: base model and adapter become a stock checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from adept_llm.adapters import merge_adapter
from adept_llm.adapters.merge import check_mergeable
from adept_llm.cli.parsing import check_writable, parse
from adept_llm.cli.tuned import BaseArguments
from adept_llm.errors import InputError


@dataclass(frozen=True)
class MergeArguments:
    """Where to."""

    output_dir: str = field(metadata={"help": "folder for the merged model; must not exist"})


def main(argv: Sequence[str]) -> None:
    """Load base and adapter, merge, save model and tokenizer.

    Raises:
        InputError: for an adapter that does not fit, or a folder that exists.
    """
    given, args = parse([BaseArguments, MergeArguments], argv)
    if Path(args.output_dir).exists():
        raise InputError(f"output_dir: {args.output_dir} exists; name a new folder")
    check_writable(args.output_dir)
    # a table that holds the adapter belongs to the base as it was before its quantisation
    tuned = replace(given.open(), quantization="none")
    check_mergeable(tuned.config)
    tokenizer = tuned.tokenizer
    model, tokenizer = merge_adapter(tuned.model, tokenizer)
    model.save_pretrained(args.output_dir)
    tokenizer.save_pretrained(args.output_dir)
    print(f"merged model: {args.output_dir}")
