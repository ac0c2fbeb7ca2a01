"""Put an adapter into a frozen model: swap the embedding layer, freeze everything else."""

from collections.abc import Mapping
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from adept_llm.adapters import initializers
from adept_llm.adapters.config import AdeptConfig, BaseTable
from adept_llm.adapters.foreign import read_foreign
from adept_llm.adapters.frozen_table import Gather, root_mean_square, whole
from adept_llm.adapters.insertion import insert_virtual_tokens
from adept_llm.adapters.layer import AdeptEmbedding, embed_scale_of
from adept_llm.adapters.positions import tell_positions
from adept_llm.adapters.pretrained import resize_token_embeddings, save_as_adapter
from adept_llm.adapters.saved import copy_values, read_adapter, saved_prompt
from adept_llm.adapters.several import SeveralAdapters
from adept_llm.errors import InputError
from adept_llm.hub import adapter_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def inject_adapter(
    model: "PreTrainedModel",
    config: AdeptConfig,
    tokenizer: "PreTrainedTokenizerBase | None" = None,
    *,
    gather: Gather = whole,
    revision: str | None = None,
) -> "PreTrainedModel":
    """Freeze the model, give it an adapter in place of its embedding layer, and return it.

    Args:
        model: a decoder from `AutoModelForCausalLM`.
        config: which adapter.
        tokenizer: needed by `prompt_init="text"` alone.
        gather: gives the whole embedding table, where it is split over ranks; see
            `compat.deepspeed.gathered`.
        revision: the base's commit on the hub, for a saved adapter to name.

    Returns:
        The same model object; `get_adapter(model)` finds the adapter in it.

    Raises:
        InputError: for a model that cannot carry the adapter, see `check_model`.
    """
    base = check_model(model)
    # the start is drawn on the CPU, so that it does not depend on the device
    generator = torch.Generator().manual_seed(config.init_seed)
    with gather(base.weight) as weight, torch.no_grad():
        table = describe_table(model, weight, revision)
        embedding = AdeptEmbedding(base, config, table)
        embedding.prompt.reset(
            generator,
            lambda: (
                _first_rows(config, table, weight, tokenizer, generator, embedding.embed_scale)
                / embedding.unit
            ),
        )
        embedding.offset.reset(generator)
    return attach(model, embedding)


def load_adapter(
    model: "PreTrainedModel",
    folder: str | Path,
    *,
    revision: str | None = None,
    gather: Gather = whole,
) -> "PreTrainedModel":
    """Put a saved adapter into a freshly loaded base model and return the model.

    Args:
        model: the base that it was trained on.
        folder: of `save_adapter`, a training run's, PEFT's prompt tuning, or what DePT's and
            ADePT's authors save; or 'user/repo' on the hub.
        revision: the adapter's commit on the hub.
        gather: as in `inject_adapter`.

    Raises:
        InputError: for a missing or damaged adapter, or one of another base. What other tools save
            says nothing of the base but its width.
    """
    base = check_model(model)
    with gather(base.weight) as weight:
        found = describe_table(model, weight)
    return attach(model, _saved(base, found, adapter_folder(folder, revision)))


def load_adapters(
    model: "PreTrainedModel", folders: Mapping[str, str | Path], *, gather: Gather = whole
) -> "PreTrainedModel":
    """Put several saved adapters into a freshly loaded base model and return the model.

    Whose a row is must be told: call the model within `rows_of`, or within `only`. The base's own
    dropout is off where there are two or more, whatever they were trained with.

    Args:
        model: the base that all were trained on.
        folders: name -> folder, as for `load_adapter`; methods and sizes may differ.
        gather: as in `inject_adapter`.

    Raises:
        InputError: as `load_adapter`.
    """
    base = check_model(model)
    with gather(base.weight) as weight:
        found = describe_table(model, weight)
    saved = {name: _saved(base, found, adapter_folder(folder)) for name, folder in folders.items()}
    return attach(model, SeveralAdapters(saved))


def _saved(base: nn.Embedding, found: BaseTable, folder: Path) -> AdeptEmbedding:
    """A saved adapter over a base's layer, whose table was found to be this one."""
    if foreign := read_foreign(folder):
        config, table, tensors = foreign.config, found, foreign.on_table(embed_scale_of(base))
    else:
        config, table, tensors = read_adapter(folder)
        table.check_same(found)
    embedding = AdeptEmbedding(base, config, table)
    copy_values(embedding.saved_values(), tensors, folder)
    return embedding


def attach(
    model: "PreTrainedModel", embedding: AdeptEmbedding | SeveralAdapters
) -> "PreTrainedModel":
    """Freeze the model and put an embedding that holds adapters' values in its place."""
    adapters = (
        list(embedding.adapters.values()) if isinstance(embedding, SeveralAdapters) else [embedding]
    )
    if len(adapters) > 1 or not adapters[0].config.base_dropout:
        silence_dropout(model)
    model.requires_grad_(False)
    embedding.to(embedding.weight.device)
    embedding.train(model.training)
    model.set_input_embeddings(embedding)
    for adapter in adapters:
        for parameter in adapter.offset_parameters().values():
            parameter.requires_grad_(True)
        for parameter in adapter.prompt_parameters().values():
            # m = 0 leaves an empty prompt, which optimizers need not see
            parameter.requires_grad_(adapter.config.num_virtual_tokens > 0)
    if any(adapter.config.num_virtual_tokens for adapter in adapters):
        insert_virtual_tokens(model)
    # of the rows as they are read: behind the insertion
    if any(adapter.offset.needs_positions for adapter in adapters):
        tell_positions(model)
    resized = MethodType(resize_token_embeddings, model)
    model.resize_token_embeddings = resized  # type: ignore[method-assign]
    if isinstance(embedding, SeveralAdapters):
        model.save_pretrained = _refuse_saving  # type: ignore[method-assign]
    else:
        save_as_adapter(model)
    return model


def silence_dropout(model: nn.Module) -> None:
    """Set every dropout rate in a frozen base to zero; its configuration is left as it is.

    A base in evaluation mode would do as well, but gradient checkpointing acts in training mode
    only, and model.train() reaches every module. So the rates go: those of nn.Dropout, and the
    numbers that models keep for functional dropout, attention's own and layerdrop.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def check_model(model: "PreTrainedModel") -> nn.Embedding:
    """The model's embedding layer, if an adapter can take its place.

    Raises:
        InputError: for encoder-decoders, multimodal models, models without a plain table or without
            a head over its words, models that look token ids up in a second table, and models that
            have an adapter already.
    """
    name = type(model).__name__
    if getattr(model.config, "is_encoder_decoder", False):
        raise InputError(f"model: {name} is an encoder-decoder; take a decoder such as Llama")
    if model.config.get_text_config() is not model.config:
        raise InputError(f"model: {name} has a text model inside it; take the text model alone")
    try:
        base = model.get_input_embeddings()
    except NotImplementedError:
        base = None
    if isinstance(base, AdeptEmbedding | SeveralAdapters):
        raise InputError("model: already has an adapter; load the base model again")
    if not isinstance(base, nn.Embedding):
        raise InputError(
            f"model: {name} has no embedding layer over token ids; take a decoder such as Llama"
        )
    if type(base) is not nn.Embedding and embed_scale_of(base) is None:
        raise InputError(f"model: embedding layer {type(base).__name__} of {name} is not supported")
    if model.get_output_embeddings() is None:  # type: ignore[no-untyped-call]
        raise InputError(
            f"model: {name} has no head over the vocabulary; load it by AutoModelForCausalLM"
        )
    sizes = _sizes_of_token_tables(model.config, base)
    for path, module in model.named_modules():
        second = isinstance(module, nn.Embedding) and module is not base
        if second and module.num_embeddings in sizes:
            raise InputError(
                f"model: {name} looks token ids up in a second table ({path}), which knows no "
                "virtual tokens; take a decoder with one table"
            )
    return base


def _sizes_of_token_tables(config: Any, base: nn.Embedding) -> set[int | None]:
    """How many rows a second table over token ids may have; one of positions may have as many.

    Gemma 3n and 4 look the ids up again for each layer, in a table of another size.
    """
    positions = getattr(config, "max_position_embeddings", None)
    of_layers = getattr(config, "vocab_size_per_layer_input", None)
    return {base.num_embeddings} - {positions} | {of_layers}


def describe_table(
    model: "PreTrainedModel", weight: Tensor, revision: str | None = None
) -> BaseTable:
    """Facts by which a saved adapter recognises its base.

    Args:
        model: the base; names where it came from.
        weight: its whole table [V, d].
        revision: its commit on the hub.

    Raises:
        InputError: for a table without finite values, or one that was offloaded or not loaded.
    """
    if weight.is_meta:
        raise InputError(
            "model: its embedding table lies on the device meta, offloaded or not loaded; load the "
            "model with its embedding layer in memory"
        )
    rms = root_mean_square(weight)
    if not rms > 0 or rms == float("inf"):
        raise InputError(f"model: the embedding table has rms {rms}; its weights are not loaded")
    vocab_size, hidden_size = weight.shape
    name = model.config.name_or_path or None
    return BaseTable(vocab_size, hidden_size, rms, name, revision)


def _first_rows(
    config: AdeptConfig,
    table: BaseTable,
    weight: Tensor,
    tokenizer: "PreTrainedTokenizerBase | None",
    generator: torch.Generator,
    embed_scale: float | None,
) -> Tensor:
    """Rows [m, d] in the table's units, on the CPU, as `prompt_init` asks."""
    m = config.num_virtual_tokens
    if config.prompt_init_text:
        if tokenizer is None:
            raise InputError("prompt_init: 'text' needs the tokenizer")

        def encode(text: str) -> list[int]:
            return list(tokenizer(text, add_special_tokens=False).input_ids)

        rows = initializers.text_rows(weight, m, config.prompt_init_text, encode)
    elif config.prompt_init == "normal":
        rows = initializers.normal_rows(m, table.hidden_size, table.rms, generator)
    elif config.prompt_init == "standard_normal":
        rows = initializers.normal_rows(m, table.hidden_size, 1.0, generator)
    elif config.prompt_init_adapter:
        prompt = saved_prompt(config.prompt_init_adapter, embed_scale)
        rows = initializers.transferred_rows(prompt, (m, table.hidden_size))
    else:
        rows = initializers.vocab_rows(weight, m, generator)
    return rows.cpu()


def _refuse_saving(*args: Any, **kwargs: Any) -> NoReturn:
    """In the place of save_pretrained of a model with several adapters."""
    raise InputError("save_pretrained: the model has several adapters, which lie in their folders")
