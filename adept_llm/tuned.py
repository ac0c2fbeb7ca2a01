"""A tuned model as it lies in a folder: its adapter, its base, and how it was trained.

What every command that uses a tuned model begins with. Opening reads small files only and checks
all that can be checked; the base's weights are read when the model is asked for.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adept_llm.adapters import AdeptConfig, BaseTable, get_adapter, load_adapter, read_adapter
from adept_llm.adapters.merge import tokenizer_with_virtual_tokens
from adept_llm.adapters.saved import CONFIG_FILE
from adept_llm.base.loading import (
    check_context,
    load_config,
    load_model,
    load_tokenizer,
    named_by,
    pick_dtype,
)
from adept_llm.compat.deepspeed import gathered
from adept_llm.data import Encoder
from adept_llm.errors import InputError
from adept_llm.packing import Batcher, make_batcher
from adept_llm.record import RunRecord
from adept_llm.training.checkpoints.folders import checkpoints, find_checkpoint

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Tuned:
    """A tuned model.

    Attributes:
        folder: Where the adapter lies; of a run without an adapter its newest checkpoint.
        config: The adapter.
        table: The frozen table that it was made for.
        record: How it was trained; None for an adapter that was saved by other means.
        name_or_path: The base.
        revision: The base's commit on the hub.
        dtype: Of the base's weights.
        quantization: Of the base's linear layers.
        template: How rows are written.
        max_length: Tokens of a prompt and its answer.
    """

    folder: Path
    config: AdeptConfig
    table: BaseTable
    record: RunRecord | None
    name_or_path: str
    revision: str | None = None
    dtype: str | torch.dtype = "auto"
    quantization: str = "none"
    template: str = "plain"
    max_length: int = 256

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        model_name_or_path: str | None = None,
        dtype: str | torch.dtype = "auto",
        quantization: str | None = None,
        template: str | None = None,
        max_length: int | None = None,
    ) -> "Tuned":
        """Open a run, a checkpoint or a bare adapter.

        Args:
            folder: Of a run, of one of its checkpoints, or of `save_adapter`.
            model_name_or_path: The base, if it has moved; by default the one the adapter names.
            dtype: Of the base's weights, see `base.loading.pick_dtype`.
            quantization: By default that of the training run, else none.
            template: Likewise, else plain.
            max_length: Likewise, else 256.

        Raises:
            InputError: for a folder without an adapter, or a base that does not fit it.
        """
        found = _adapter_folder(Path(folder))
        config, table, _ = read_adapter(found)
        record = RunRecord.read(found)
        if record is None and (newest := find_checkpoint(found).newest):
            # trained, and stopped in its last evaluation
            record = RunRecord.read(newest)
        name = model_name_or_path or table.name_or_path
        if not name:
            raise InputError("model_name_or_path: the adapter names no base model; give it")
        data, base = (record.data, record.base) if record else (None, None)
        tuned = cls(
            folder=found, config=config, table=table, record=record, name_or_path=name,
            # the adapter's commit says nothing of another base
            revision=None if model_name_or_path else table.revision,
            dtype=dtype,
            quantization=quantization or (base.quantization if base else "none"),
            template=template or (data.template if data else "plain"),
            max_length=(data.max_length if data else 256) if max_length is None else max_length,
        )  # fmt: skip
        with nullcontext() if model_name_or_path else named_by(found):
            _ = tuned.base_config
        pick_dtype(dtype, tuned.base_config)
        tuned.check_width()
        return tuned

    @property
    def labels(self) -> Sequence[str] | None:
        """The labels it tells apart, () for free text; None where no run left a record."""
        return self.record.data.labels if self.record else None

    @property
    def form(self) -> str:
        """How the rows asked that it learnt from, see `Example.form`; '' where nothing tells."""
        return self.record.data.form if self.record else ""

    @cached_property
    def base_config(self) -> "PretrainedConfig":
        """The base's configuration."""
        return load_config(self.name_or_path, self.revision)

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The base's tokenizer."""
        return load_tokenizer(self.name_or_path, self.revision)

    @cached_property
    def encoder(self) -> Encoder:
        """What writes and tokenises rows as in training."""
        return Encoder(self.tokenizer, self.template, self.max_length)

    @cached_property
    def model(self) -> "PreTrainedModel":
        """The base with its adapter, in evaluation mode; reads the weights.

        Raises:
            InputError: for weights that are missing or damaged, or another base's.
        """
        return load_adapter(self.load_base(), self.folder, gather=gathered)

    def load_base(self) -> "PreTrainedModel":
        """The base alone, a new one with each call.

        Raises:
            InputError: for weights that are missing or damaged.
        """
        model: PreTrainedModel = load_model(
            self.name_or_path, self.revision, self.dtype, self.quantization
        )
        return model

    @property
    def prefixed_tokenizer(self) -> "PreTrainedTokenizerBase":
        """A tokenizer that puts the virtual ids in front of every text, as `model` wants them."""
        return tokenizer_with_virtual_tokens(self.tokenizer, get_adapter(self.model))

    def batcher(self, packing: str = "shared_prefix") -> Batcher:
        """How the model reads rows."""
        return make_batcher(self.model, packing, self.max_length)

    def check_width(self) -> None:
        """Refuse a base of another width; other differences show when its weights are read.

        Raises:
            InputError: naming both.
        """
        config: Any = self.base_config.get_text_config()  # of a base that sees or hears as well
        # OPT-350m's table is narrower than its layers
        width = getattr(config, "word_embed_proj_dim", None) or getattr(config, "hidden_size", None)
        if width and width != self.table.hidden_size:
            raise InputError(
                f"adapter: {self.folder} was made for hidden size {self.table.hidden_size}, "
                f"{self.name_or_path} has {width}; load the base it was trained on"
            )

    def check_context(self, max_new_tokens: int = 0) -> None:
        """Refuse texts and answers that exceed the base's context.

        Raises:
            InputError: naming what has to be smaller.
        """
        virtual = self.config.num_virtual_tokens
        check_context(self.base_config, virtual, self.max_length, max_new_tokens)


def _adapter_folder(folder: Path) -> Path:
    """The folder itself, or the newest complete checkpoint of a run that is not finished."""
    if (folder / CONFIG_FILE).is_file() or not checkpoints(folder):
        return folder
    return find_checkpoint(folder).newest or folder
