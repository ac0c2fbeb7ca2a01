"""Arguments that name a tuned model."""

from dataclasses import asdict, dataclass, field

from adept_llm.base.quantization import QUANTIZATIONS
from adept_llm.data import TEMPLATES
from adept_llm.training.arguments import DTYPES
from adept_llm.tuned import Tuned


@dataclass(frozen=True)
class BaseArguments:
    """Which adapter, on which base."""

    adapter: str = field(metadata={"help": "folder of a run, a checkpoint or a saved adapter"})
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "base model; default: the one the adapter names"}
    )
    dtype: str = field(
        default="auto", metadata={"help": "of the frozen weights", "choices": DTYPES}
    )

    def open(self) -> Tuned:
        """Open it; small files only are read.

        Raises:
            InputError: for a folder without an adapter, or a base that does not fit it.
        """
        given = asdict(self)
        return Tuned.open(given.pop("adapter"), **given)


@dataclass(frozen=True)
class TunedArguments(BaseArguments):
    """Likewise, with what is the training run's own by default."""

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
