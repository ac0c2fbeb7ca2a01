"""adept-llm merge: base model and adapter become a stock checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adept_llm.adapters import load_adapter, merge_adapter, read_adapter
from adept_llm.backbone import load_model, load_tokenizer
from adept_llm.cli.parsing import parse
from adept_llm.errors import InputError


@dataclass(frozen=True)
class MergeArguments:
    """What to merge."""

    adapter: str = field(metadata={"help": "folder of a saved adapter"})
    output_dir: str = field(metadata={"help": "folder for the merged model; must not exist"})
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "base model; default: the one the adapter names"}
    )
    dtype: str = field(default="auto", metadata={"help": "of the merged weights"})


def main(argv: Sequence[str]) -> None:
    """Load base and adapter, merge, save model and tokenizer.

    Raises:
        InputError: for an adapter that does not fit, or a folder that exists.
    """
    (args,) = parse([MergeArguments], argv)
    if Path(args.output_dir).exists():
        raise InputError(f"output_dir: {args.output_dir} exists; name a new folder")
    _, table, _ = read_adapter(args.adapter)
    name = args.model_name_or_path or table.name_or_path
    if not name:
        raise InputError("model_name_or_path: the adapter names no base model; give it")
    tokenizer = load_tokenizer(name, table.revision)
    model = load_adapter(load_model(name, table.revision, args.dtype), args.adapter)
    model, tokenizer = merge_adapter(model, tokenizer)
    model.save_pretrained(args.output_dir)
    tokenizer.save_pretrained(args.output_dir)
    print(f"merged model: {args.output_dir}")
