"""Merge an adapter into the table: a stock model and a stock tokenizer that need no adept_llm.

An offset that depends on the word alone makes a plain table E' = E + offset. Behind it come
the m rows of P, as special tokens <|adept_0|>.. that the tokenizer by itself puts in front of every
text, and its chat template in front of every conversation.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from adept_llm.adapters.config import AdeptConfig
from adept_llm.adapters.layer import AdeptEmbedding, get_adapter, layer_over
from adept_llm.adapters.methods import METHODS
from adept_llm.adapters.pretrained import make_stock
from adept_llm.adapters.virtual_head import (
    BIAS,
    VirtualRow,
    evaluating,
    last_states,
    measuring_ids,
    virtual_row,
)
from adept_llm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

CHUNK_ROWS = 4096


def virtual_token_names(tokenizer: "PreTrainedTokenizerBase", count: int) -> list[str]:
    """Names of further virtual tokens: <|adept_0|>.., or behind those that a merged base has."""
    return _further_names(tokenizer, "<|adept_%d|>", count)


def _further_names(tokenizer: "PreTrainedTokenizerBase", form: str, count: int) -> list[str]:
    """Names by a form, numbered behind the last that a tokenizer knows."""
    number = re.compile(re.escape(form).replace("%d", r"(\d+)"))
    known = [int(found[1]) for name in tokenizer.get_vocab() if (found := number.fullmatch(name))]
    first = max(known, default=-1) + 1
    return [form % i for i in range(first, first + count)]


def merge_adapter(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    virtual: VirtualRow | None = None,
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Turn an injected model and its tokenizer into stock ones, ready for save_pretrained.

    The model is changed in place: its table becomes [E' ; P], its head gets m more rows, whose
    logits lie below those of all words and are suppressed in generation_config, and is untied if it
    was tied.

    Args:
        model: an injected model of any method but dept.
        tokenizer: the base model's fast tokenizer; it is not changed.
        virtual: the row of the virtual tokens in the head; measured here where it is not given.

    Returns:
        (model, tokenizer), the tokenizer a new one.

    Raises:
        InputError: for DePT, whose offset depends on the position and fits no table, and for a
            tokenizer that is slow or larger than the table.
    """
    adapter = get_adapter(model)
    check_mergeable(adapter.config)
    merged = tokenizer_with_virtual_tokens(tokenizer, adapter)
    virtual = virtual or measured_row(model, tokenizer)
    make_stock(model)
    _swap_layer(model, adapter)
    _pad_head(model, adapter, virtual)
    model.config.vocab_size = adapter.table.vocab_size + adapter.config.num_virtual_tokens
    if adapter.config.num_virtual_tokens:
        suppressed = list(model.generation_config.suppress_tokens or [])
        model.generation_config.suppress_tokens = suppressed + adapter.virtual_token_ids
        log.info("%s", virtual)
    return model, merged


def check_mergeable(config: AdeptConfig) -> None:
    """Refuse what no table can hold.

    Raises:
        InputError: for DePT, whose offset depends on the position.
    """
    if not METHODS[config.method].offset.merges:
        raise InputError(
            f"{config.method}: its offset depends on a word's position, so no table can hold it; "
            "use the adapter unmerged"
        )


@torch.no_grad()
def merged_rows(adapter: AdeptEmbedding) -> Tensor:
    """[E' ; P] of shape [V + m, d] in the table's dtype: the bits of the layer in eval mode."""
    return torch.cat(list(merged_blocks(adapter)))


def merged_blocks(adapter: AdeptEmbedding) -> Iterator[Tensor]:
    """The same, some thousand rows at a time."""
    weight = adapter.base.weight
    for first in range(0, len(weight), CHUNK_ROWS):
        rows = weight[first : first + CHUNK_ROWS]
        ids = torch.arange(first, first + len(rows), device=weight.device)
        with torch.no_grad(), evaluating(adapter):
            block = adapter.adapt_rows(rows, ids)
        yield block
    with torch.no_grad(), evaluating(adapter):
        prompt = adapter.prompt_rows(weight.dtype)
    yield prompt


def _swap_layer(model: "PreTrainedModel", adapter: AdeptEmbedding) -> None:
    weight = nn.Parameter(merged_rows(adapter), requires_grad=False)
    model.set_input_embeddings(layer_over(weight, adapter.base_class, adapter.embed_scale))


def measured_row(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> VirtualRow:
    """The row that the head of an injected model gets for virtual tokens, see `virtual_head`."""
    adapter = get_adapter(model)
    head: nn.Linear = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    weight, prefix = head.weight.detach(), adapter.virtual_token_ids
    if head.bias is not None or not prefix:
        return VirtualRow(torch.zeros_like(weight[0]), bias=BIAS)
    context = getattr(model.config, "max_position_embeddings", None)
    ids = measuring_ids(tokenizer, prefix, adapter.table.vocab_size, context)
    return virtual_row(
        lambda ids: last_states(model, ids, len(prefix)), lambda: weight.split(CHUNK_ROWS), ids
    )


@torch.no_grad()
def _pad_head(model: "PreTrainedModel", adapter: AdeptEmbedding, virtual: VirtualRow) -> None:
    """Give the head m more rows of its own, and untie it."""
    head: nn.Linear = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    m = adapter.config.num_virtual_tokens
    extra = virtual.row.to(head.weight.device).expand(m, -1)
    head.weight = nn.Parameter(torch.cat([head.weight, extra]), requires_grad=False)
    if head.bias is not None:
        bias = head.bias.new_full((m,), BIAS)
        head.bias = nn.Parameter(torch.cat([head.bias, bias]), requires_grad=False)
    head.out_features = head.weight.shape[0]
    model.config.tie_word_embeddings = False


def tokenizer_with_virtual_tokens(
    tokenizer: "PreTrainedTokenizerBase", adapter: AdeptEmbedding
) -> "PreTrainedTokenizerBase":
    """A copy of the tokenizer that puts the virtual tokens in front of every text.

    Raises:
        InputError: for a tokenizer that is slow or larger than the table.
    """
    m, first = adapter.config.num_virtual_tokens, adapter.table.vocab_size
    longer = with_further_tokens(tokenizer, first, m)
    names = virtual_token_names(tokenizer, m)
    return with_prefix(longer, {name: first + i for i, name in enumerate(names)})


def check_tokenizer(tokenizer: "PreTrainedTokenizerBase", rows: int) -> None:
    """Refuse a tokenizer that cannot have virtual tokens behind a table.

    Args:
        tokenizer: the base's.
        rows: of the table.

    Raises:
        InputError: for one that is slow or larger than the table.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise InputError("tokenizer: virtual tokens need a fast one (tokenizer.json)")
    if len(tokenizer) > rows:
        raise InputError(f"tokenizer: has {len(tokenizer)} tokens, the table {rows} rows")


def with_further_tokens(
    tokenizer: "PreTrainedTokenizerBase", first: int, count: int
) -> "PreTrainedTokenizerBase":
    """A tokenizer that has further `virtual_token_names` as ids first, first + 1, ..

    Args:
        tokenizer: a fast one; it is not changed.
        first: at least its length.
        count: how many; with none it is given back as it is.

    Raises:
        InputError: for a tokenizer that is slow or larger than the table.
    """
    check_tokenizer(tokenizer, first)
    if not count:
        return tokenizer
    import copy

    from tokenizers import AddedToken

    longer = copy.deepcopy(tokenizer)
    # a table may have more rows than its tokenizer has tokens: fill the gap, so that ids agree
    filler = _further_names(tokenizer, "<|adept_unused_%d|>", first - len(longer))
    names = virtual_token_names(tokenizer, count)
    longer.add_tokens([AddedToken(n, special=True, normalized=False) for n in filler + names])
    return longer


def with_prefix(
    tokenizer: "PreTrainedTokenizerBase", tokens: Mapping[str, int]
) -> "PreTrainedTokenizerBase":
    """A tokenizer that puts some of its tokens in front of every text and conversation.

    Args:
        tokenizer: a fast one; it is not changed.
        tokens: name -> id, in order.
    """
    if not tokens:
        return tokenizer
    from adept_llm.compat.tokenizers import with_backend

    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content["post_processor"] = _with_prefix(content["post_processor"], tokens)
    prefixed = with_backend(tokenizer, json.dumps(content))
    prefixed.chat_template = _prefixed_chat_template(tokenizer.chat_template, "".join(tokens))
    return prefixed


def _with_prefix(processor: dict[str, Any] | None, tokens: Mapping[str, int]) -> dict[str, Any]:
    """A post-processor that writes [virtual tokens] in front of what the given one writes.

    A template that is there already is extended: two in a row break on a pair of texts.
    """
    chain: list[dict[str, Any]] = []
    if processor is not None:
        chain = processor["processors"] if processor["type"] == "Sequence" else [processor]
    template = next((p for p in chain if p["type"] == "TemplateProcessing"), None)
    if template is None:
        first_text, second_text = ({"Sequence": {"id": i, "type_id": 0}} for i in "AB")
        template = {
            "type": "TemplateProcessing",
            "single": [first_text],
            "pair": [first_text, second_text],
            "special_tokens": {},
        }
        chain = [*chain, template]
    prefix = [{"SpecialToken": {"id": name, "type_id": 0}} for name in tokens]
    for form in ("single", "pair"):
        template[form] = prefix + template[form]
    for name, token in tokens.items():
        template["special_tokens"][name] = {"id": name, "ids": [token], "tokens": [name]}
    return {"type": "Sequence", "processors": chain}


def _prefixed_chat_template(template: Any, prefix: str) -> Any:
    """A tokenizer's chat template, or its templates by name, that write the prefix first."""
    if isinstance(template, dict):
        return {name: _prefixed_chat_template(one, prefix) for name, one in template.items()}
    # behind a comment and its line break the given template begins a line, as it did before
    return template and f"{prefix}{{# the trained prompt #}}\n{template}"
