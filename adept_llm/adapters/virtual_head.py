"""Rows of a merged head for the virtual tokens: their logits lie below those of every word.

`suppress_tokens` forbids virtual tokens, but not all servers read it. So their row r is made such
that r h < min_x w_x h - MARGIN for last hidden states h: of text, of random tokens, and of what the
model itself writes there at temperature 2, whose states are unlike those of text. Of all such rows
it is the one nearest to the row of the word that is least likely there: where states are unlike all
of these too, it does as that word does.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from adept_llm.adapters.layer import embedding_device
from adept_llm.adapters.measuring_texts import TEXTS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MARGIN = 2.0  # between the logits of r and of the lowest word
LENGTH = 64  # tokens of a text behind the prompt
TEMPERATURE, ROUNDS = 2.0, 2  # of what is written anew, and how often
HELD_OUT = 4  # every so many-th text is not fitted but measured
BIAS = -1e4  # where the head has one; float16 holds it
PASSES, ENOUGH = 200, 0.05


@dataclass(frozen=True)
class VirtualRow:
    """A head's row for all virtual tokens.

    Attributes:
        row: r, [d], in the head's dtype.
        share: How likely one such token is drawn at temperature 2, on average over positions that r
            was not made from; None where a bias keeps the tokens down, or nothing was measured.
        margin: Smallest logit of a word less that of r, over the same positions.
        positions: How many these are.
        bias: Of the tokens, where the head has biases.
    """

    row: Tensor
    share: float | None = None
    margin: float = 0.0
    positions: int = 0
    bias: float | None = None

    def __str__(self) -> str:
        if self.bias is not None:
            return f"virtual tokens: never sampled, their bias in the head is {self.bias:g}"
        if self.share is None:
            return (
                "virtual tokens: nothing was measured for this architecture, so only the "
                "suppress_tokens of generation_config.json keeps them from being sampled"
            )
        where = "below" if self.margin >= 0 else "above"
        return (
            f"virtual tokens: at temperature {TEMPERATURE:g} each is drawn with a probability of "
            f"{self.share:.0e} where nothing suppresses them; at the worst of {self.positions} "
            f"positions its logit lies {abs(self.margin):.1f} {where} the lowest of a word"
        )


def measuring_ids(
    tokenizer: "PreTrainedTokenizerBase", prefix: Sequence[int], words: int, context: int | None
) -> Tensor:
    """Texts, and as many of random tokens, behind the prompt, [texts, m + length].

    Args:
        tokenizer: The base's.
        prefix: The virtual ids.
        words: V.
        context: The longest row that the model reads, if it has such.
    """
    length = min(LENGTH, (context or LENGTH + len(prefix)) - len(prefix))
    texts: list[list[int]] = [tokenizer(text).input_ids for text in TEXTS]
    rows = []
    for i in range(len(texts)):
        # a short text is continued by the next one, so that no row is padded
        joined = [one for text in texts[i:] + texts[:i] for one in text]
        rows.append((joined * length)[:length])
    plain = torch.tensor(rows)
    random = torch.randint(0, words, plain.shape, generator=torch.Generator().manual_seed(0))
    ids = torch.cat([plain, random])
    return torch.cat([torch.tensor(prefix).expand(len(ids), -1), ids], 1)


def last_states(model: "PreTrainedModel", ids: Tensor, prefix: int) -> Tensor:
    """What the head reads behind the prompt, [texts, length, d] in fp32 on the CPU."""
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        with torch.no_grad(), evaluating(model):
            model(ids.to(embedding_device(model)), use_cache=False)
    finally:
        hook.remove()
    return seen[0][:, prefix:].float().cpu()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """A module in evaluation mode, and afterwards in the mode that it had."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def virtual_row(
    read: Callable[[Tensor], Tensor], head: Callable[[], Iterable[Tensor]], ids: Tensor
) -> VirtualRow:
    """The row below all words that is nearest to the least likely of them, and how well it does.

    Args:
        read: Ids to last hidden states [texts, length, d]; it leaves the prompt's out.
        head: Gives the head's rows of words, some at a time and in order.
        ids: As `measuring_ids` gives them.
    """
    generator = torch.Generator().manual_seed(0)
    rounds = []
    for _ in range(ROUNDS + 1):
        states = read(ids)
        said = _said(states, head(), generator)
        rounds.append((states, said.lowest, said.total))
        # each token is drawn after those before it, of the round before
        ids = torch.cat([ids[:, : ids.shape[1] - states.shape[1] + 1], said.drawn[:, :-1]], 1)
    held_out = torch.arange(len(ids)) % HELD_OUT == HELD_OUT - 1
    states, lowest, _ = (
        torch.cat([x[~held_out] for x in one]) for one in zip(*rounds, strict=True)
    )
    states, lowest = states.flatten(0, 1), lowest.flatten()
    rare = _least_likely(states.mean(0), head())
    change = shortest_below(states, lowest - MARGIN - states @ rare.float())
    row = (rare.float() + change).to(rare.dtype)
    states, lowest, total = (
        torch.cat([x[held_out] for x in one]) for one in zip(*rounds, strict=True)
    )
    virtual = states @ row.float()
    share = (virtual / TEMPERATURE - total).exp().mean()
    return VirtualRow(row, float(share), float((lowest - virtual).min()), virtual.numel())


@dataclass(frozen=True)
class _Said:
    """What a head says at each position, [texts, length] each.

    Attributes:
        lowest: The lowest logit.
        total: Logarithm of the sum of all exponentials at the temperature.
        drawn: A token that is drawn there.
    """

    lowest: Tensor
    total: Tensor
    drawn: Tensor


def _said(states: Tensor, head: Iterable[Tensor], generator: torch.Generator) -> _Said:
    lowest = torch.full(states.shape[:2], torch.inf)
    best, drawn, first = -lowest, torch.zeros(states.shape[:2], dtype=torch.long), 0
    total = -lowest
    for rows in head:
        logits = states @ rows.float().cpu().T
        lowest = torch.minimum(lowest, logits.amin(-1))
        logits /= TEMPERATURE
        total = torch.logaddexp(total, logits.logsumexp(-1))
        # the largest of logits with Gumbel's noise is a draw from their softmax
        noise = torch.empty_like(logits).exponential_(generator=generator).log_()
        value, index = (logits - noise).max(-1)
        drawn = torch.where(value > best, index + first, drawn)
        best, first = torch.maximum(best, value), first + len(rows)
    return _Said(lowest, total, drawn)


def _least_likely(state: Tensor, head: Iterable[Tensor]) -> Tensor:
    """The head's row whose logit at a state [d] is the lowest."""
    least = torch.tensor(torch.inf)
    row = state
    for rows in head:
        value, index = (rows.float().cpu() @ state).min(0)
        if value < least:
            least, row = value, rows[index].cpu()
    return row


def shortest_below(states: Tensor, bounds: Tensor) -> Tensor:
    """The shortest r with r h_n <= bound_n for all n, [d], by Hildreth's method.

    C. Hildreth, A quadratic programming procedure, Naval Research Logistics Quarterly 4 (1957):
    r = -sum_n a_n h_n with a_n >= 0, of which one is corrected at a time. Where no r satisfies all
    of them, the last approximation is returned.

    Args:
        states: h, [N, d].
        bounds: Of their products with r, [N].
    """
    h = states.double()
    gram = (h @ h.T).numpy()
    products, weights = bounds.new_zeros(len(h)).double().numpy(), [0.0] * len(h)
    limits, squares = bounds.double().tolist(), gram.diagonal().tolist()
    for _ in range(PASSES):
        largest = 0.0
        for n in (products - bounds.double().numpy()).argsort()[::-1].tolist():
            change = max(-weights[n], (products[n] - limits[n]) / max(squares[n], 1e-12))
            if change:
                weights[n] += change
                products -= change * gram[n]
                largest = max(largest, abs(change) * squares[n])
        if largest < ENOUGH:
            break
    return -(torch.tensor(weights, dtype=torch.float64) @ h).float()
