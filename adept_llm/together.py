"""Several tuned models on one base: opened, checked, and loaded with one copy of the weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adept_llm.adapters import load_adapters, only
from adept_llm.compat.deepspeed import gathered
from adept_llm.data import Encoded, Encoder, Example
from adept_llm.errors import InputError
from adept_llm.packing import Batcher, make_batcher
from adept_llm.tuned import Tuned

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Together:
    """Tuned models of one base.

    Attributes:
        runs: By name, the folder as it was given.

    Raises:
        InputError: for none, and for bases that differ.
    """

    runs: dict[str, Tuned]

    def __post_init__(self) -> None:
        if not self.runs:
            raise InputError("adapter: none is given; name one or more")
        first, *others = self.runs
        for other in others:
            what = _difference(self.runs[first], self.runs[other])
            if what:
                raise InputError(
                    f"adapter: {first} and {other} cannot share one base: {what}; take them one at "
                    "a time"
                )

    @classmethod
    def open(cls, folders: Sequence[str], **options: Any) -> "Together":
        """Open runs, checkpoints or bare adapters; small files only are read.

        Args:
            folders: Of each.
            options: As for `Tuned.open`.

        Raises:
            InputError: as `Tuned.open`, for a folder that is given twice, and bases that differ.
        """
        names = [str(Path(folder)) for folder in folders]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"adapter: {twice} is given twice; leave one out")
        return cls({name: Tuned.open(name, **options) for name in names})

    @property
    def names(self) -> list[str]:
        """Of the adapters, in the order in which they were given."""
        return list(self.runs)

    def name_of(self, wanted: str | None, where: str) -> str:
        """Which adapter is meant.

        Args:
            wanted: A folder, or its last part; None where there is no choice.
            where: For messages.

        Raises:
            InputError: for one that is not there, and for none where there is a choice.
        """
        if wanted is None:
            if len(self.runs) == 1:
                return self.names[0]
            known = ", ".join(self.names)
            raise InputError(f"{where}: field 'adapter' is missing; name one of {known}")
        if str(Path(wanted)) in self.runs:
            return str(Path(wanted))
        found = [name for name in self.runs if Path(name).name == wanted]
        if len(found) > 1:
            raise InputError(
                f"{where}: adapter {wanted!r} may be {' or '.join(found)}; write the folder"
            )
        if not found:
            raise InputError(
                f"{where}: adapter {wanted!r} is none of those given: {', '.join(self.names)}"
            )
        return found[0]

    def check_context(self, max_new_tokens: int = 0) -> None:
        """As `Tuned.check_context`, of each."""
        for tuned in self.runs.values():
            tuned.check_context(max_new_tokens)

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The base's tokenizer."""
        return self.runs[self.names[0]].tokenizer

    def encoder(self, name: str) -> Encoder:
        """What writes and tokenises rows as in this one's training."""
        tuned = self.runs[name]
        return Encoder(self.tokenizer, tuned.template, tuned.max_length)

    def encode(self, owners: Sequence[str], rows: Sequence[Example]) -> list[Encoded | str]:
        """Rows to answer as each one's adapter reads them, or why there are no ids.

        Args:
            owners: The name of each row's adapter.
            rows: The rows.
        """
        found: list[Encoded | str] = [""] * len(rows)
        for name in dict.fromkeys(owners):
            places = [place for place, owner in enumerate(owners) if owner == name]
            own = self.encoder(name).encode_each([rows[place] for place in places])
            for place, one in zip(places, own, strict=True):
                found[place] = one
        return found

    @cached_property
    def model(self) -> "PreTrainedModel":
        """The base with all adapters, see `adapters.several`; reads the weights once.

        Raises:
            InputError: for weights that are missing or damaged, or another base's.
        """
        base = self.runs[self.names[0]].load_base()
        folders = {name: tuned.folder for name, tuned in self.runs.items()}
        return load_adapters(base, folders, gather=gathered)

    @contextmanager
    def alone(self, name: str, packing: str) -> Iterator[tuple["PreTrainedModel", Batcher]]:
        """The model with one adapter as if it had no other, and how it reads rows.

        Args:
            name: Of the adapter.
            packing: shared_prefix or padded.
        """
        with only(self.model, name):
            yield self.model, make_batcher(self.model, packing, self.runs[name].max_length)


def _difference(one: Tuned, other: Tuned) -> str | None:
    """What keeps two from sharing the weights in memory."""
    if _place(one) != _place(other):
        return (
            f"{_place(one)} and {_place(other)} (the same one under two names? "
            "give --model_name_or_path)"
        )
    if one.quantization != other.quantization:
        return (
            f"quantization {one.quantization} and {other.quantization} (to read both on one, give "
            "--quantization)"
        )
    unlike = one.table.unlike(other.table)
    return unlike and " and ".join(unlike)


def _place(tuned: Tuned) -> str:
    folder = Path(tuned.name_or_path)
    if folder.is_dir():
        return str(folder.resolve())
    return f"{tuned.name_or_path} at {tuned.revision}" if tuned.revision else tuned.name_or_path
