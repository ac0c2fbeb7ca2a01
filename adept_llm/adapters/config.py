"""What an adapter is: the method, its sizes and how its prompt starts."""

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from adept_llm.adapters.forms import Sizes
from adept_llm.adapters.methods import METHODS
from adept_llm.errors import InputError

DERIVED = ("bottleneck_size", "prompt_rank")  # by the method, where they are not given
OPTIONAL = (*DERIVED, "prompt_init_text", "prompt_init_adapter", "name_or_path", "revision")
INTEGERS = ("num_virtual_tokens", "offset_positions", "init_seed", *DERIVED)
NUMBERS = ("bottleneck_dropout", "offset_scale")
TEXTS = ("method", "prompt_init", "prompt_init_text", "prompt_init_adapter", "offset_init", "units")
PROMPT_INITS = ("vocab", "text", "normal", "standard_normal", "adapter")
UNITS = ("rms", "plain")
OFFSET_INITS = ("scaled", "by_rank")


@dataclass(frozen=True)
class AdeptConfig:
    """The user's choices for one adapter; checked on construction.

    Raises:
        InputError: for a combination that cannot work.
    """

    method: str = field(
        default="adept", metadata={"help": ", ".join(METHODS), "choices": tuple(METHODS)}
    )
    num_virtual_tokens: int = field(default=60, metadata={"help": "m, rows of the soft prompt"})
    bottleneck_size: int | None = field(
        default=None,
        metadata={
            "help": "r, width of the offset network (adept), or rank of the offset (dept, "
            "embedding_lora); default 19, embedding_lora: 8"
        },
    )
    prompt_rank: int | None = field(
        default=None,
        metadata={
            "help": "rank of the prompt (dpt; default 10), words that it mixes (superpos; 128) or "
            "width that it is projected from (ulpt; 2)"
        },
    )
    bottleneck_dropout: float = field(
        default=0.0,
        metadata={"help": "dropout on the bottleneck pre-activation (adept; reference code: 0.1)"},
    )
    offset_positions: int = field(
        default=256, metadata={"help": "s, words that receive a positional offset (dept)"}
    )
    offset_scale: float = field(
        default=1.0, metadata={"help": "factor on the positional offset (dept)"}
    )
    prompt_init: str = field(
        default="vocab",
        metadata={"help": ", ".join(PROMPT_INITS), "choices": PROMPT_INITS},
    )
    prompt_init_text: str | None = field(
        default=None, metadata={"help": "text whose embeddings start the prompt (text)"}
    )
    prompt_init_adapter: str | None = field(
        default=None,
        metadata={"help": "saved adapter to take the prompt from (adapter)"},
    )
    offset_init: str = field(
        default="scaled",
        metadata={
            "help": "start of the offset's first matrix: scaled, or by_rank: U(-1/sqrt(r), "
            "1/sqrt(r)) as in the authors' code (adept, dept)",
            "choices": OFFSET_INITS,
        },
    )
    units: str = field(
        default="rms",
        metadata={
            "help": "of the trained values: rms, the table's root mean square, or plain, as in "
            "the authors' code, where rates are rates of plain values",
            "choices": UNITS,
        },
    )
    init_seed: int = field(default=0, metadata={"help": "seed of the adapter's initial values"})
    base_dropout: bool = field(
        default=False,
        metadata={"help": "train with the frozen base's own dropout (GPT-2, OPT), which is off"},
    )

    def __post_init__(self) -> None:
        self._check_kinds()
        if self.method not in METHODS:
            raise InputError(
                f"method: '{self.method}' is unknown; choose one of {', '.join(METHODS)}"
            )
        method = METHODS[self.method]
        if self.num_virtual_tokens < 0:
            raise InputError(f"num_virtual_tokens: {self.num_virtual_tokens} is negative")
        if self.num_virtual_tokens == 0 and method.offset.default_size is None:
            raise InputError(f"num_virtual_tokens: {self.method} with 0 tokens trains nothing")
        self._settle("bottleneck_size", method.offset.default_size, "offset to train")
        self._settle("prompt_rank", method.prompt.default_rank, "prompt of another rank")
        if not 0.0 <= self.bottleneck_dropout < 1.0:
            raise InputError(f"bottleneck_dropout: {self.bottleneck_dropout} is not in [0, 1)")
        if self.offset_positions < 1:
            raise InputError(f"offset_positions: {self.offset_positions} is not positive")
        self._check_prompt_init()
        if self.offset_init not in OFFSET_INITS:
            raise InputError(
                f"offset_init: '{self.offset_init}' is unknown; "
                f"choose one of {', '.join(OFFSET_INITS)}"
            )
        if self.offset_init == "by_rank" and not method.offset.starts_by_rank:
            raise InputError(f"offset_init: {self.method} knows no 'by_rank'; leave it out")
        if self.units not in UNITS:
            raise InputError(f"units: '{self.units}' is unknown; choose one of {', '.join(UNITS)}")

    def _check_kinds(self) -> None:
        """Refuse what YAML, JSON or Python give for a number and what is none: 5.0, True, nan."""
        if isinstance(self.prompt_init_adapter, os.PathLike):  # which JSON cannot hold
            object.__setattr__(self, "prompt_init_adapter", os.fspath(self.prompt_init_adapter))
        given = vars(self)
        _check_kind(given, INTEGERS, int, "is no whole number; give one")
        _check_kind(given, NUMBERS, int | float, "is no number; give one")
        _check_kind(given, TEXTS, str, "is no text; give one")
        _check_kind(given, ("base_dropout",), bool, "is neither true nor false; give one of them")
        if not abs(self.offset_scale) <= sys.float_info.max:
            raise InputError(f"offset_scale: {self.offset_scale} is not finite; give a number")
        if not -(2**63) <= self.init_seed < 2**64:
            raise InputError(f"init_seed: {self.init_seed} has more than 64 bits; give a smaller")

    def _settle(self, name: str, default: int | None, what: str) -> None:
        """Give a size that the method's forms have its default, and refuse one that they lack."""
        size = getattr(self, name)
        if size is None:
            object.__setattr__(self, name, default or 0)
        elif default is None and size:
            raise InputError(f"{name}: {self.method} has no {what}; leave it out")
        elif default is not None and size < 1:
            raise InputError(f"{name}: {self.method} needs at least 1, got {size}")

    def _check_prompt_init(self) -> None:
        if self.prompt_init not in PROMPT_INITS:
            raise InputError(
                f"prompt_init: '{self.prompt_init}' is unknown; "
                f"choose one of {', '.join(PROMPT_INITS)}"
            )
        for init in ("text", "adapter"):
            given = getattr(self, f"prompt_init_{init}")
            if self.prompt_init == init and not given:
                raise InputError(f"prompt_init: '{init}' needs --prompt_init_{init}")
            if self.prompt_init != init and given:
                raise InputError(f"prompt_init_{init}: given, but --prompt_init is not '{init}'")
        if self.prompt_init != "vocab" and not METHODS[self.method].prompt.takes_rows:
            raise InputError(
                f"prompt_init: {self.method} draws its prompt in its own way; leave it out"
            )

    def sizes(self, table: "BaseTable") -> Sizes:
        """What the method's forms are made from."""
        return Sizes(
            vocab_size=table.vocab_size,
            hidden_size=table.hidden_size,
            num_virtual_tokens=self.num_virtual_tokens,
            prompt_rank=self.prompt_rank or 0,
            bottleneck_size=self.bottleneck_size or 0,
            bottleneck_dropout=self.bottleneck_dropout,
            offset_positions=self.offset_positions,
            offset_scale=self.offset_scale,
            offset_by_rank=self.offset_init == "by_rank",
        )

    def unit(self, table: "BaseTable") -> float:
        """The length that trained values are measured in: u, or 1 for plain values."""
        return table.rms if self.units == "rms" else 1.0


@dataclass(frozen=True)
class BaseTable:
    """The frozen table E that an adapter was made for; enough to recognise it again."""

    vocab_size: int
    hidden_size: int
    rms: float
    """Root mean square of E's entries; see `AdeptConfig.unit`."""
    name_or_path: str | None = None
    revision: str | None = None

    def check_same(self, other: "BaseTable") -> None:
        """Refuse an adapter of another base.

        Args:
            other: the table of the model at hand.

        Raises:
            InputError: if width, vocabulary or values differ. The rms tells a fine-tuned table from
                its parent and does not feel a change of dtype; the name may differ (moved folder).
        """
        if unlike := self.unlike(other):
            raise InputError(
                f"adapter: made for {self.name_or_path or 'another base'} with {unlike[0]}, the "
                f"model has {unlike[1]}; load the base model it was trained on"
            )

    def unlike(self, other: "BaseTable") -> tuple[str, str] | None:
        """The first thing in which two tables differ, what it is here and there."""
        if self.hidden_size != other.hidden_size:
            return f"hidden size {self.hidden_size}", f"{other.hidden_size}"
        if self.vocab_size != other.vocab_size:
            return f"vocabulary of {self.vocab_size}", f"{other.vocab_size}"
        if not abs(self.rms - other.rms) <= 1e-4 * self.rms:  # nan is like nothing
            return f"table of rms {self.rms:.6g}", f"{other.rms:.6g}"
        return None


def config_to_json(config: AdeptConfig, base: BaseTable) -> dict[str, Any]:
    """Content of adapter_config.json."""
    return {"adapter": asdict(config), "base_model": asdict(base)}


def config_from_json(content: dict[str, Any]) -> tuple[AdeptConfig, BaseTable]:
    """Inverse of `config_to_json`.

    Raises:
        InputError: for a file of another tool or version.
    """
    try:
        adapter = dict(content["adapter"])
        # the start of the prompt is history: neither the text nor the old adapter is needed again
        adapter.update(prompt_init="vocab", prompt_init_text=None, prompt_init_adapter=None)
        return AdeptConfig(**adapter), _table(**content["base_model"])
    except InputError as error:
        raise InputError(f"adapter_config.json: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"adapter_config.json: not an adept_llm adapter ({error}); expected the keys "
            "'adapter' and 'base_model' as written by save_adapter"
        ) from error


def _table(**given: Any) -> BaseTable:
    """The table that a file names."""
    table = BaseTable(**given)
    _check_kind(given, ("vocab_size", "hidden_size"), int, "is no whole number")
    _check_kind(given, ("rms",), int | float, "is no number")
    _check_kind(given, [n for n in OPTIONAL if n in given], str, "is no text")
    if not 0 <= table.rms <= sys.float_info.max:
        raise InputError(f"rms: {table.rms} is the length of no table")
    return table


def _check_kind(given: Mapping[str, Any], names: Iterable[str], kind: Any, said: str) -> None:
    for name in names:
        value = given[name]
        # True is an int too, and 1
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not right and not (value is None and name in OPTIONAL):
            raise InputError(f"{name}: {value!r} {said}")
