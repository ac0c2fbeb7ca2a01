"""Format hf: base and adapter as one stock checkpoint."""

from pathlib import Path

from adept_llm.adapters import merge_adapter
from adept_llm.adapters.merge import check_mergeable, check_tokenizer, measured_row
from adept_llm.base.loading import base_folder
from adept_llm.export.card import write_merged_card
from adept_llm.export.configurations import generation_settings, write_generation
from adept_llm.export.merged import as_stored, merge_stored, write_tokenizer
from adept_llm.export.options import ExportOptions
from adept_llm.export.stored_base import StoredBase
from adept_llm.tuned import Tuned


def write_hf(tuned: Tuned, options: ExportOptions, target: Path, copies: int = 1) -> None:
    """Write the base's files with the merged table; or load, merge and save.

    Args:
        tuned: The adapter and its base. A dtype other than auto has the model loaded.
        options: None are of this format.
        target: An empty folder.
        copies: How often the disk has to hold the model, as where it is converted afterwards.

    Raises:
        InputError: for an adapter that does not fit or cannot be merged, and a full disk.
    """
    streams = tuned.dtype == "auto"
    tuned = as_stored(tuned)
    check_mergeable(tuned.config)
    source = base_folder(tuned.name_or_path, tuned.revision)
    base = StoredBase.find(source, tuned.base_config) if streams else None
    if base:
        merge_stored(tuned, base, target, copies)
    else:
        _merge_loaded(tuned, source, target)


def _merge_loaded(tuned: Tuned, source: Path, target: Path) -> None:
    """The whole model in memory: for another dtype, and weights in files of an older format."""
    from transformers import GenerationConfig

    check_tokenizer(tuned.tokenizer, tuned.table.vocab_size)
    settings = generation_settings(source, tuned.base_config)
    virtual = measured_row(tuned.model, tuned.tokenizer)
    model, tokenizer = merge_adapter(tuned.model, tuned.tokenizer, virtual)
    write_tokenizer(tokenizer, len(tuned.tokenizer), source, target)
    model.generation_config = GenerationConfig()  # the base's own may be one that is not saved
    model.save_pretrained(target)
    m = tuned.config.num_virtual_tokens
    write_generation(settings, target, tuned.table.vocab_size, m)
    write_merged_card(tuned, target, virtual)
