"""Generated answers: the prompt P is computed once, and all texts of a batch read its cache.

Stock `generate` does the rest. Texts are padded between P and themselves, [P][PAD..][text], which a
mask hides; positions count what the mask shows, so that a text has the same positions as alone.
With several adapters each row reads the cache of its own prompt.
A sliding window counts columns, hidden or not: where a row is longer than the window, the pads
would push P out of it, and texts are padded in front, [PAD..][P][text], without a shared cache.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from adept_llm.adapters import embedding_device
from adept_llm.compat.transformers import cache_argument
from adept_llm.errors import InputError
from adept_llm.evaluation.head import rows_side_by_side
from adept_llm.evaluation.prefixes import Prefixes
from adept_llm.evaluation.ranks import batches
from adept_llm.packing.collator import left_pad

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.generation.streamers import BaseStreamer


@dataclass(frozen=True)
class Decoding:
    """How answers are written.

    Attributes:
        max_new_tokens: Most tokens of an answer.
        num_beams: Beams of a search; 1 is greedy.
        temperature: 0 takes the most probable tokens; above it they are drawn by torch's generator.
        top_p: Share of the probability that is drawn from.

    Raises:
        InputError: for values that cannot work.
    """

    max_new_tokens: int = 32
    num_beams: int = 1
    temperature: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "num_beams"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: must be at least 1")
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature: {self.temperature} is negative or no number")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p: {self.top_p} is not in (0, 1]")
        if self.top_p < 1 and not self.temperature:
            raise InputError("top_p: goes with a temperature above 0")

    def config(self, eos_token_id: int) -> GenerationConfig:
        """All of it stated, so that nothing is filled in from the model's own configuration."""
        drawn = {"temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
        return GenerationConfig(
            max_new_tokens=self.max_new_tokens, num_beams=self.num_beams, repetition_penalty=1.0,
            do_sample=self.temperature > 0, eos_token_id=eos_token_id, pad_token_id=eos_token_id,
            **(drawn if self.temperature > 0 else {}),
        )  # fmt: skip


class Answer(NamedTuple):
    """The continuation of a prompt.

    Attributes:
        prompt_index: Place of its prompt among those given.
        ids: The answer's tokens, without EOS.
        certainty: Mean log-probability of the most probable tokens, the answer's own if it is
            greedy, EOS included; NaN under beam search.
    """

    prompt_index: int
    ids: list[int]
    certainty: float


class Certainty(LogitsProcessor):
    """Listens to decoding: the log-probability of the most probable token of each step."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Note it for each row, change nothing. [B, V] -> [B, V]."""
        logits = scores.float()
        self.steps.append(logits.amax(-1) - logits.logsumexp(-1))
        return scores


def generate(
    model: "PreTrainedModel",
    prompts: Sequence[list[int]],
    eos_token_id: int,
    decoding: Decoding,
    batch_size: int = 32,
    *,
    adapters: Sequence[str] = (),
    prefixes: Prefixes | None = None,
    streamer: "BaseStreamer | None" = None,
) -> Iterator[Answer]:
    """Continue prompts until EOS.

    Args:
        model: an injected model, or one without adapter.
        prompts: token ids without virtual tokens, none empty.
        eos_token_id: what ends an answer.
        decoding: greedy, by beams or drawn, and how long.
        batch_size: prompts in a batch.
        adapters: for a model with several, the name of each prompt's.
        prefixes: what stands in front of the prompts, where it was computed for an earlier call.
        streamer: is handed the tokens of the one prompt as they come; without beams.

    Yields:
        One answer for each prompt, batch by batch, in order of the prompts' length. Several ranks
        share the work: each yields its part, see `ranks.collect`, and all must call.

    Raises:
        InputError: for an adapter that the model lacks.
    """
    model.eval()
    prefixes = prefixes or Prefixes(model, adapters)
    owners = [prefixes.names.index(name) for name in adapters] or [0] * len(prompts)
    config = decoding.config(eos_token_id)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for batch in batches(order, batch_size):
        texts, places = [prompts[i] for i in batch], [owners[i] for i in batch]
        answers = zip(*_continue(model, prefixes, places, texts, config, streamer), strict=True)
        yield from (Answer(i, *answer) for i, answer in zip(batch, answers, strict=True))


def _fits_window(model: "PreTrainedModel", columns: int) -> bool:
    """Whether each token of rows of that many columns sees all columns before it."""
    window = getattr(model.config, "sliding_window", None)
    return not window or columns <= window


def _continue(
    model: "PreTrainedModel",
    prefixes: Prefixes,
    places: Sequence[int],
    texts: Sequence[list[int]],
    config: GenerationConfig,
    streamer: "BaseStreamer | None",
) -> tuple[list[list[int]], list[float]]:
    """The answers of one batch and their certainties."""
    eos, device, cache = cast(int, config.eos_token_id), embedding_device(model), None
    ids, mask = _padded(texts, eos)
    if _fits_window(model, prefixes.longest + ids.shape[1] + cast(int, config.max_new_tokens)):
        shown, seen = prefixes.rows(places)
        ids, mask = torch.cat([shown, ids], 1), torch.cat([seen, mask], 1)
        cache = prefixes.cache(places, cast(int, config.num_beams))
    else:
        pairs = zip(places, texts, strict=True)
        ids, mask = _padded([prefixes.virtual[place] + text for place, text in pairs], eos)
    certainty = Certainty()
    with (
        torch.no_grad(), own_configuration_aside(model), rows_side_by_side(model),
        prefixes.owned_by(places),
    ):  # fmt: skip
        out = cast(Any, model).generate(
            ids.to(device),
            attention_mask=mask.to(device),
            **{cache_argument(): cache},
            generation_config=config,
            logits_processor=LogitsProcessorList([certainty]),
            streamer=streamer,
        )
    new = out[:, ids.shape[1] :].tolist()
    answers = [row[: row.index(eos)] if eos in row else row for row in new]
    if config.num_beams != 1:
        return answers, [math.nan] * len(answers)
    steps = torch.stack(certainty.steps, 1).tolist()  # [B, new tokens]
    sizes = [min(len(answer) + 1, len(row)) for answer, row in zip(answers, new, strict=True)]
    return answers, [sum(row[:n]) / n for row, n in zip(steps, sizes, strict=True)]


@contextmanager
def own_configuration_aside(model: "PreTrainedModel") -> Iterator[None]:
    """Let the model's own generation_config (penalties, sampling, EOS) have no say for a while."""
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _padded(rows: Sequence[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Rows padded on the left, and the mask that hides the pads; both [B, L]."""
    return left_pad(rows, pad), left_pad([[1] * len(row) for row in rows], 0)
