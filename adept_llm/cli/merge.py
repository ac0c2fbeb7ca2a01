"""adept-llm merge: base model and adapter become a stock checkpoint."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from adept_llm.adapters import merge_adapter
from adept_llm.adapters.merge import check_mergeable
from adept_llm.cli.parsing import check_writable, parse
from adept_llm.cli.tuned import BaseArguments
from adept_llm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
    save_whole(Path(args.output_dir), model, tokenizer)
    print(f"merged model: {args.output_dir}")


def save_whole(
    folder: Path, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    """Save both into a folder that appears when all of it is written, or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.parent / f".{folder.name}.unfinished-{os.getpid()}"
    try:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        unfinished.rename(folder)
    except (OSError, SafetensorError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"output_dir: {folder}: {why}; nothing is left there, name a folder with room"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
