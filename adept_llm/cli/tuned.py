"""Arguments that name tuned models."""

from dataclasses import asdict, dataclass, field

from adept_llm.base.quantization import QUANTIZATIONS
from adept_llm.data import TEMPLATES
from adept_llm.together import Together
from adept_llm.training.arguments import DTYPES
from adept_llm.tuned import Tuned


@dataclass(frozen=True, kw_only=True)
class FrozenArguments:
    """Which base."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "base model; default: the one the adapter names"}
    )
    dtype: str = field(
        default="auto", metadata={"help": "of the frozen weights", "choices": DTYPES}
    )


@dataclass(frozen=True, kw_only=True)
class BaseArguments(FrozenArguments):
    """Which adapter, on which base."""

    adapter: str = field(metadata={"help": "folder of a run, a checkpoint or a saved adapter"})

    def open(self) -> Tuned:
        """Open it; small files only are read.

        Raises:
            InputError: for a folder without an adapter, or a base that does not fit it.
        """
        given = asdict(self)
        return Tuned.open(given.pop("adapter"), **given)


@dataclass(frozen=True, kw_only=True)
class TunedArguments(FrozenArguments):
    """Which adapters, on which base; with what is each training run's own by default."""

    adapter: list[str] = field(
        metadata={
            "help": "folder of a run, a checkpoint or a saved adapter; several on one base: "
            "--adapter A B, or --adapter A --adapter B",
            "action": "extend",
        }
    )
    template: str | None = field(
        default=None, metadata={"help": "default: as in training", "choices": TEMPLATES}
    )
    max_length: int | None = field(
        default=None,
        metadata={"help": "tokens of a prompt and its answer; default: as in training"},
    )
    quantization: str | None = field(
        default=None, metadata={"help": "default: as in training", "choices": QUANTIZATIONS}
    )

    def open(self) -> Together:
        """Open them; small files only are read.

        Raises:
            InputError: for a folder without an adapter, or a base that does not fit.
        """
        given = asdict(self)
        return Together.open(given.pop("adapter"), **given)
