"""adept-llm merge: base model and adapter become a stock checkpoint."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError

from adept_llm.adapters import get_adapter, merge_adapter
from adept_llm.adapters.merge import check_mergeable, measured_row
from adept_llm.base.loading import base_folder
from adept_llm.cli.parsing import check_writable, parse
from adept_llm.cli.tuned import BaseArguments
from adept_llm.errors import InputError
from adept_llm.export.card import model_card
from adept_llm.export.merged import StoredBase, as_stored, merge_stored, write_tokenizer
from adept_llm.tuned import Tuned


@dataclass(frozen=True)
class MergeArguments:
    """Where to."""

    output_dir: str = field(metadata={"help": "folder for the merged model; must not exist"})


def main(argv: Sequence[str]) -> None:
    """Find the base's files, write them with the merged table; or load, merge and save.

    Raises:
        InputError: for an adapter that does not fit, or a folder that exists.
    """
    given, args = parse([BaseArguments, MergeArguments], argv)
    if Path(args.output_dir).exists():
        raise InputError(f"output_dir: {args.output_dir} exists; name a new folder")
    check_writable(args.output_dir)
    tuned = as_stored(given.open())
    check_mergeable(tuned.config)
    source = base_folder(tuned.name_or_path, tuned.revision)
    base = StoredBase.find(source, tuned.base_config) if given.dtype == "auto" else None
    if base:
        write_whole_folder(Path(args.output_dir), lambda folder: merge_stored(tuned, base, folder))
    else:
        write_whole_folder(
            Path(args.output_dir), lambda folder: merge_loaded(tuned, source, folder)
        )
    print(f"merged model: {args.output_dir}")


def merge_loaded(tuned: Tuned, source: Path, target: Path) -> None:
    """The whole model in memory: for another dtype, and weights in files of an older format."""
    tokenizer = tuned.tokenizer
    adapter = get_adapter(tuned.model)
    write_tokenizer(tokenizer, adapter, source, target)
    virtual = measured_row(tuned.model, tokenizer)
    model, _ = merge_adapter(tuned.model, tokenizer, virtual)
    model.save_pretrained(target)
    (target / "README.md").write_text(model_card(tuned, virtual), "utf-8")


def write_whole_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let a folder appear when all of it is written, or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.parent / f".{folder.name}.unfinished-{os.getpid()}"
    try:
        unfinished.mkdir()
        write(unfinished)
        unfinished.rename(folder)
    except (OSError, SafetensorError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"output_dir: {folder}: {why}; nothing is left there, name a folder with room"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
