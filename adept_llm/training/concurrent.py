"""Runs that train at once on one base: their micro-batches in one packed row, each with its loss.

Each run is an ordinary one, with modules of its own over the base's tensors and a Trainer of its
own. Where it would compute a micro-batch, it asks (see `turns`), and all that ask are answered by
one pass forward and backward over [P_1 | x.. | P_2 | x..]: with its loss, and with the slopes of
that loss by its parameters. What comes of them, and how often, is the run's own business.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from adept_llm.adapters import (
    SeveralAdapters,
    embedding_device,
    get_adapter,
    only,
    rows_of,
)
from adept_llm.adapters.injection import attach
from adept_llm.base.shared import over_same_tensors
from adept_llm.compat.transformers import checkpoint_alike
from adept_llm.packing import (
    Batch,
    has_plain_head,
    joined_batch,
    token_losses,
    use_packed_attention,
)
from adept_llm.training.out_of_memory import explained
from adept_llm.training.trainer import loss_alone
from adept_llm.training.turns import Turn

FEWER = "give a smaller --concurrent, or --tokens_per_batch, which changes no loss"
Slopes = Sequence[Tensor | None]
Load = Callable[..., Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """A micro-batch whose loss a run asks for, and the model of which."""

    model: Any
    batch: Batch


@dataclass(frozen=True)
class Computed:
    """A loss, summed over its targets, and its slopes by `trained_parameters` of its model."""

    total: Tensor
    slopes: Slopes


@dataclass
class Company:
    """Runs on one base, which is read when the first of them needs it.

    Args:
        read: as `load_model`.
    """

    read: Load
    _base: Any = None
    _models: list[Any] = field(default_factory=list)
    _joint: Any = None
    _told: bool = False

    def load(self, *given: Any) -> Any:
        """The base for one more run, in modules of its own; all ask for the same."""
        if self._base is None:
            self._base = self.read(*given)
        return over_same_tensors(self._base)

    def answer(self, asked: Sequence[Asked]) -> list[Computed | None]:
        """Losses and slopes of all by one pass; None for who had better compute alone.

        That is who is left over alone, and all where a number is not finite: whose it is shows in a
        pass of one's own, as padding may carry it to others. The first question of each run comes
        with those of all others.

        Raises:
            InputError: where memory runs out.
        """
        if len(asked) == 1:
            return [None]
        with explained(lambda: f", with {len(asked)} runs in one row; {FEWER}"):
            if self._joint is None:
                self._models = [one.model for one in asked]
                self._joint = joint_model(self._base, self._models)
            names = [str(self._models.index(one.model)) for one in asked]
            found = computed_together(self._joint, names, asked)
        numbers = [n for one in found for n in (one.total, *one.slopes) if n is not None]
        if all(bool(torch.isfinite(n).all()) for n in numbers):
            return list(found)
        if not self._told:
            log.info("a number in the row of all is not finite: each run computes such steps alone")
            self._told = True
        return [None] * len(asked)


@dataclass(frozen=True)
class Member:
    """One of a company's runs, in its turn."""

    company: Company
    turn: Turn

    def load(self, *given: Any) -> Any:
        """As `load_model`."""
        return self.company.load(*given)

    def loss_of(self, model: Any, batch: Batch) -> Tensor:
        """As `loss_alone`, by a pass in common with the other runs.

        Raises:
            InputError: as `Company.answer`.
        """
        found: Computed | None = self.turn.ask(Asked(model, batch))
        if found is None:
            return loss_alone(model, batch)
        parameters = trained_parameters(model)
        return _Known.apply(found.total, found.slopes, *parameters)  # type: ignore[no-any-return]


class _Known(torch.autograd.Function):
    """A number whose slopes by parameters are known."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, slopes: Slopes, *parameters: Tensor) -> Tensor:
        ctx.slopes = slopes
        return total.clone()

    @staticmethod
    def backward(ctx: Any, *by_total: Tensor) -> Any:
        slopes = [None if one is None else by_total[0] * one for one in ctx.slopes]
        return None, None, *slopes


def trained_parameters(model: Any) -> list[nn.Parameter]:
    """What a run trains."""
    parameters = get_adapter(model).trained_parameters().values()
    return [parameter for parameter in parameters if parameter.requires_grad]


def joint_model(base: Any, models: Sequence[Any]) -> Any:
    """The base with the adapters of several models, named by their places."""
    model = over_same_tensors(base)
    adapters = {str(place): get_adapter(one) for place, one in enumerate(models)}
    attach(model, SeveralAdapters(adapters)).train()
    use_packed_attention(model)
    checkpoint_alike(model, models[0])
    with only(model, "0"), torch.no_grad():
        has_plain_head(model, embedding_device(model))
    return model


def computed_together(model: Any, names: Sequence[str], asked: Sequence[Asked]) -> list[Computed]:
    """The losses of several micro-batches, and their slopes, by one pass forward and backward.

    Args:
        model: of `joint_model`.
        names: of the adapter of each micro-batch.
        asked: at least one.
    """
    batches = [one.batch for one in asked]
    row = joined_batch(batches)
    spans = [batch["inputs"]["input_ids"].shape[1] for batch in batches]
    with rows_of(model, names, spans):
        losses = token_losses(model, row["inputs"], row["labels"])
    parts = losses.split([len(batch["labels"]) for batch in batches])
    totals = [part.sum() for part in parts]
    parameters = [trained_parameters(one.model) for one in asked]
    flat = [parameter for own in parameters for parameter in own]
    slopes = iter(torch.autograd.grad(torch.stack(totals).sum(), flat, allow_unused=True))
    return [
        Computed(total.detach(), [next(slopes) for _ in own])
        for total, own in zip(totals, parameters, strict=True)
    ]
