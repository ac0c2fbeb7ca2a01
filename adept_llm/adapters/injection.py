"""Put an adapter into a frozen model: swap the embedding layer, freeze everything else."""

from typing import Any

import torch
from torch import Tensor, nn

from adept_llm.adapters import initializers
from adept_llm.adapters.config import AdeptConfig, BaseTable
from adept_llm.adapters.layer import (
    EMBEDDINGS,
    DeptEmbedding,
    PromptEmbedding,
    embed_scale_of,
)
from adept_llm.adapters.sharding import full_shape, gathered, root_mean_square
from adept_llm.errors import InputError


def inject_adapter(model: Any, config: AdeptConfig, tokenizer: Any = None) -> Any:
    """Freeze the model, give it an adapter in place of its embedding layer, and return it.

    Args:
        model: a decoder from `AutoModelForCausalLM`.
        config: which adapter.
        tokenizer: needed by `prompt_init="text"` alone.

    Returns:
        The same model object; `get_adapter(model)` finds the adapter in it.

    Raises:
        InputError: for a model that cannot carry the adapter, see `check_model`.
    """
    base = check_model(model)
    table = describe_table(model, base)
    # the start is drawn on the CPU, so that it does not depend on the device
    generator = torch.Generator().manual_seed(config.init_seed)
    with gathered(base.weight) as weight:
        prompt = _initial_prompt(config, table, weight, tokenizer, generator)
    embedding = EMBEDDINGS[config.method](base, config, table)
    with torch.no_grad():
        embedding.prompt.copy_(prompt / table.rms)
        embedding.reset_offset(generator)
    return attach(model, embedding)


def attach(model: Any, embedding: PromptEmbedding) -> Any:
    """Freeze the model and put an embedding that holds the adapter's values in its place."""
    trained = embedding.trained_parameters().values()
    model.requires_grad_(False)
    embedding.to(embedding.base.weight.device)
    embedding.train(model.training)
    model.set_input_embeddings(embedding)
    for parameter in trained:
        # m = 0 leaves an empty prompt, which optimizers need not see
        parameter.requires_grad_(parameter.numel() > 0)
    if isinstance(embedding, DeptEmbedding):
        model.register_forward_pre_hook(_tell_positions, with_kwargs=True)
        model.register_forward_hook(_forget_positions, always_call=True)
    model.save_pretrained = _refuse_saving
    return model


def get_adapter(model: Any) -> PromptEmbedding:
    """The adapter of an injected model.

    Raises:
        InputError: if it has none.
    """
    embedding = model.get_input_embeddings()
    if not isinstance(embedding, PromptEmbedding):
        raise InputError("model: has no adapter; call inject_adapter or load_adapter first")
    return embedding


def check_model(model: Any) -> nn.Embedding:
    """The model's embedding layer, if an adapter can take its place.

    Raises:
        InputError: for encoder-decoders, multimodal models, models without a plain table, models
            that look token ids up in a second table, and models that have an adapter already.
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
    if isinstance(base, PromptEmbedding):
        raise InputError("model: already has an adapter; load the base model again")
    if not isinstance(base, nn.Embedding):
        raise InputError(
            f"model: {name} has no embedding layer over token ids; take a decoder such as Llama"
        )
    if type(base) is not nn.Embedding and embed_scale_of(base) is None:
        raise InputError(f"model: embedding layer {type(base).__name__} of {name} is not supported")
    for path, module in model.named_modules():
        second = isinstance(module, nn.Embedding) and module is not base
        if second and module.num_embeddings == base.num_embeddings:
            raise InputError(
                f"model: {name} looks token ids up in a second table ({path}), which knows no "
                "virtual tokens; take a decoder with one table"
            )
    return base


def describe_table(model: Any, base: nn.Embedding) -> BaseTable:
    """Facts by which a saved adapter recognises its base."""
    with gathered(base.weight) as weight:
        rms = root_mean_square(weight)
    vocab_size, hidden_size = full_shape(base.weight)
    if not rms > 0 or rms == float("inf"):
        raise InputError(f"model: the embedding table has rms {rms}; its weights are not loaded")
    return BaseTable(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        rms=rms,
        name_or_path=getattr(model.config, "_name_or_path", None) or None,
        revision=getattr(model.config, "_commit_hash", None),
    )


def _initial_prompt(
    config: AdeptConfig,
    table: BaseTable,
    weight: Tensor,
    tokenizer: Any,
    generator: torch.Generator,
) -> Tensor:
    """Rows [m, d] in the table's units."""
    m = config.num_virtual_tokens
    if config.prompt_init == "text":
        if tokenizer is None:
            raise InputError("prompt_init: 'text' needs the tokenizer")
        assert config.prompt_init_text is not None

        def encode(text: str) -> list[int]:
            return tokenizer(text, add_special_tokens=False).input_ids

        rows = initializers.text_rows(weight, m, config.prompt_init_text, encode)
    elif config.prompt_init == "normal":
        rows = initializers.normal_rows(m, table.hidden_size, table.rms, generator)
    elif config.prompt_init == "adapter":
        assert config.prompt_init_adapter is not None
        rows = initializers.adapter_rows(config.prompt_init_adapter, m, table.hidden_size)
    else:
        rows = initializers.vocab_rows(weight, m, generator)
    return rows.cpu()


def _refuse_saving(*args: Any, **kwargs: Any) -> None:
    """In the place of save_pretrained, whose checkpoint no stock class could read again."""
    raise InputError(
        "save_pretrained: the model has an adapter; save_adapter writes the adapter alone, "
        "merge_adapter makes a stock model of both"
    )


def _forget_positions(model: Any, *call: Any) -> None:
    """Forward hook for DePT: positions hold for one call."""
    adapter = get_adapter(model)
    assert isinstance(adapter, DeptEmbedding)
    adapter.position_ids = None


def _tell_positions(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Forward pre-hook for DePT: find each token's position, as the model itself will."""
    positions = kwargs.get("position_ids")
    input_ids: Tensor | None = kwargs.get("input_ids", args[0] if args else None)
    if input_ids is None:
        return
    if positions is None:
        cache = kwargs.get("past_key_values")
        seen = cache.get_seq_length() if cache is not None else 0
        mask = kwargs.get("attention_mask")
        if mask is not None and mask.ndim == 2:
            positions = (mask.long().cumsum(-1) - 1)[:, seen:]
        else:
            positions = torch.arange(seen, seen + input_ids.shape[1])[None]
    get_adapter(model).position_ids = positions
