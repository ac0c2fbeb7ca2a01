"""Virtual tokens where a caller gives none: hooks around an injected model's forward.

A model whose rows hold words alone would read them with the offset and without P, which is neither
the base nor what was trained. So a call is one of two kinds. Its rows hold virtual ids: then it is
left as it is, and so is all that goes on from its cache. Or they hold none: then P is put in front
of each text, [PAD..][P][text], behind the padding on its left, and taken off logits and hidden
states that come back, so that they stand where the caller's ids stand. Attentions keep the columns
of P, which are attended to. Labels, masks and positions follow. Whatever knows nothing of virtual
tokens (`generate`, Trainer, SFTTrainer, a streamer) then works in words alone.

The loss of such a call is that of stock models on the same rows: the first column is never a
target. Given `inputs_embeds` are taken as they are.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adept_llm.adapters.call import named
from adept_llm.adapters.layer import AdeptEmbedding
from adept_llm.adapters.several import SeveralAdapters
from adept_llm.compat.cache import cache_of, given_cache
from adept_llm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# arguments that describe columns in a way that does not survive an insertion
UNCLEAR = ("cu_seq_lens_q", "seq_idx", "shift_labels", "token_type_ids")
WAY_OUT = "put get_adapter(model).virtual_token_ids in front of each text yourself"


def insert_virtual_tokens(model: "PreTrainedModel") -> None:
    """Let an injected model put P in front of rows that hold no virtual ids.

    One with several adapters does so within `only`; within `rows_of` such rows are refused.
    """
    layer: Any = model.get_input_embeddings()
    adapters = layer.adapters.values() if isinstance(layer, SeveralAdapters) else [layer]
    before = model.register_forward_pre_hook(_insert, with_kwargs=True)
    after = model.register_forward_hook(_take_off, always_call=True)
    for adapter in adapters:
        adapter.hooks += [before, after]


def _insert(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """What the model is to be called with; None for what it is called with.

    Raises:
        InputError: where it cannot be told how P is to be inserted.
    """
    layer: AdeptEmbedding | SeveralAdapters = model.get_input_embeddings()
    layer.call.told.pop("inserted_before", None)
    alone = isinstance(layer, AdeptEmbedding)
    # a packed row holds P; to look for it would wait for the device
    if "packed_layout" in kwargs or (alone and not layer.virtual_token_ids):
        return None
    given = named(model, args, kwargs)
    ids: Tensor | None = given.get("input_ids")
    if ids is None or ids.is_meta or not ids.shape[1]:
        return None
    if alone and not layer.active:
        return (), {**given, "input_ids": _words(layer, given)}
    cache = given_cache(given)
    if cache is not None and cache.get_seq_length():
        # of a cache that holds ids as they were given, the caller says what stands where
        return ((), _next(cache, given)) if hasattr(cache, "inserted_tokens") else None
    hold = _virtual_ids(layer, given).any(1).tolist()
    if isinstance(layer, SeveralAdapters):
        layer.check_prompts(hold)
        return None
    if all(hold):
        return None
    if any(hold):
        raise InputError(
            "input_ids: some rows hold virtual tokens, others do not; give them to all or to none"
        )
    layer.call.told["inserted_before"] = ids.shape[1]
    return (), _first(layer, cache, given)


def _virtual_ids(layer: AdeptEmbedding | SeveralAdapters, given: dict[str, Any]) -> Tensor:
    """Where virtual ids stand, [B, L]; what a mask hides is padding, whichever id it has."""
    ids, mask = given["input_ids"], given.get("attention_mask")
    virtual: Tensor = ids >= layer.table.vocab_size
    if isinstance(mask, Tensor) and mask.shape == ids.shape:
        virtual = virtual & mask.bool()
    return virtual


def _words(layer: AdeptEmbedding | SeveralAdapters, given: dict[str, Any]) -> Tensor:
    """Ids [B, L] for the base alone, whose kernel on a GPU would end the process at any other."""
    if _virtual_ids(layer, given).any():
        raise InputError(
            "input_ids: hold virtual tokens, which a model does not know within `without_adapter`; "
            "give it words alone"
        )
    ids: Tensor = given["input_ids"]
    return ids.masked_fill(ids >= layer.table.vocab_size, 0)


def _take_off(model: Any, args: Any, output: Any) -> None:
    """Give back what stands where the caller's ids stand; mark a cache that holds more."""
    layer: AdeptEmbedding | SeveralAdapters = model.get_input_embeddings()
    length: int | None = layer.call.told.pop("inserted_before", None)
    if length is None or output is None:  # nothing was inserted, or the call raised
        return
    if isinstance(output, tuple):
        raise InputError(f"return_dict: false needs rows that hold virtual tokens; {WAY_OUT}")
    if (logits := getattr(output, "logits", None)) is not None:
        output.logits = logits[:, -length:]
    if (states := getattr(output, "hidden_states", None)) is not None:
        output.hidden_states = tuple(state[:, -length:] for state in states)
    if (cache := cache_of(output)) is not None:
        cache.inserted_tokens = len(layer.virtual_token_ids)


def _first(adapter: AdeptEmbedding, cache: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a call without a past, with P before each text."""
    m, first = adapter.config.num_virtual_tokens, adapter.table.vocab_size
    ids, mask = given["input_ids"], given.get("attention_mask")
    _check_plain(cache, mask, given)
    start = _text_starts(ids, mask)
    columns = torch.arange(m + ids.shape[1], device=ids.device)[None]
    words = ids.masked_fill(ids >= first, 0)  # under the mask, as these rows hold no virtual ids
    out = {**given, "input_ids": _widened(words, start, m, first + columns - start)}
    if mask is not None:
        out["attention_mask"] = _widened(mask, start, m, 1)
    if (positions := given.get("position_ids")) is not None:
        out["position_ids"] = _moved(positions.expand_as(ids), mask, start, m)
    if (labels := given.get("labels")) is not None:
        # stock models never predict the first column; here something stands before it
        labels = labels.index_fill(1, torch.zeros(1, dtype=torch.long, device=ids.device), -100)
        out["labels"] = _widened(labels, start, m, -100)
    if isinstance(kept := given.get("logits_to_keep"), Tensor):
        out["logits_to_keep"] = torch.where(kept < 0, kept, kept + m)
    return out


def _next(cache: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a call that goes on from a cache into which P was inserted."""
    m, seen, new = cache.inserted_tokens, cache.get_seq_length(), given["input_ids"].shape[1]
    out, mask, positions = dict(given), given.get("attention_mask"), given.get("position_ids")
    fits = True
    if mask is not None:
        fits = mask.ndim == 2 and mask.shape[1] == seen - m + new
    elif positions is not None:
        # `generate` cuts the words of a whole conversation by the cache's length, and drops a mask
        # of ones; what is left of it would follow m words too late
        fits = int(positions.flatten()[0]) == seen - m
    if not fits:
        raise InputError(
            f"cache: of its {seen} tokens {m} were inserted, so the {new} given now are "
            f"not what follows; give the new tokens alone, or {WAY_OUT} from the first call on"
        )
    if mask is not None:
        out["attention_mask"] = _widened(mask, _text_starts(mask, mask), m, 1)
    if positions is not None:
        out["position_ids"] = positions + m
    return out


def _check_plain(cache: Any, mask: Tensor | None, given: dict[str, Any]) -> None:
    """Refuse rows in which the place of P cannot be told.

    Raises:
        InputError: naming the argument.
    """
    unclear = [name for name in UNCLEAR if given.get(name) is not None]
    if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
        unclear.append("an attention_mask that is not [batch, columns]")
    elif mask is not None and not mask.any(1).all():
        unclear.append("a row of padding alone")
    if cache is not None and cache.is_compileable:
        unclear.append("a cache of fixed size")
    if unclear:
        raise InputError(
            f"input_ids: no virtual tokens, and with {unclear[0]} they are not inserted; {WAY_OUT}"
        )


def _text_starts(like: Tensor, mask: Tensor | None) -> Tensor:
    """Column of each row's first token that the mask shows, [B, 1]."""
    if mask is None:
        return torch.zeros(len(like), 1, dtype=torch.long, device=like.device)
    return mask.bool().long().argmax(1, keepdim=True)


def _widened(values: Tensor, start: Tensor, m: int, fill: Tensor | int) -> Tensor:
    """[B, L] -> [B, m + L], with m columns of `fill` before column `start` of each row."""
    columns = torch.arange(m + values.shape[1], device=values.device)[None]
    source = torch.where(columns < start, columns, (columns - m).clamp(min=0))
    wide = values.gather(1, source.expand(len(values), -1))
    inside = (columns >= start) & (columns < start + m)
    if isinstance(fill, Tensor):
        return torch.where(inside, fill.to(wide.dtype), wide)
    return wide.masked_fill(inside, fill)


def _moved(positions: Tensor, mask: Tensor | None, start: Tensor, m: int) -> Tensor:
    """Positions [B, m + L]: P takes those where its text began, which moves on by m.

    Raises:
        InputError: for several texts in one row.
    """
    columns = torch.arange(positions.shape[1], device=positions.device)[None]
    text = columns > start
    if mask is not None:
        text &= mask.bool()
    if (text[:, 1:] & (positions.diff(dim=1) < 0)).any():
        raise InputError(
            "position_ids: several texts in one row, where virtual tokens are not inserted; turn "
            "packing and padding_free off, or take make_batcher(model), which packs them"
        )
    first = positions.gather(1, start)
    columns = torch.arange(m + positions.shape[1], device=positions.device)[None]
    wide = _widened(positions, start, m, first + columns - start)
    return wide + m * (columns >= start + m)
