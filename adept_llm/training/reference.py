"""The authors' own code, by the name of each difference: `--reference w1 dropout`, or `all`.

A name stands for values of ordinary arguments, of the adapter and of the training; nothing else of
the package knows it. docs/methods.md says where in the authors' code each one stands.
"""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from adept_llm.adapters import METHODS, AdeptConfig
from adept_llm.errors import InputError
from adept_llm.training.arguments import AdeptTrainingArguments

ALL = "all"
WARMUP_STEPS = 500
# as it stands there, with its slips
PROMPT_TEXT = "Classify this text is postive or not:"
FIRST = ("adept", "dept", "prompt_tuning")  # in HungerPWAY/ADePT and ZhengxiangShi/DePT
TRAINED_ALIKE = (*FIRST, "ulpt")  # MANGA-UOFA/ULPT is made from DePT's


@dataclass(frozen=True)
class Difference:
    """What the authors' code does in another way than this package does by default.

    Attributes:
        methods: In whose authors' code.
        settings: r -> the values of our arguments.
        default: Whether their code does so unless it is told otherwise, and `all` with it.
    """

    methods: tuple[str, ...]
    settings: Callable[[int], dict[str, Any]]
    default: bool = True


DIFFERENCES = {
    "w1": Difference(("adept",), lambda r: {"offset_init": "by_rank"}),
    "a": Difference(("dept",), lambda r: {"offset_init": "by_rank"}),
    "scale": Difference(("dept",), lambda r: {"offset_scale": 8 / r**0.5}),
    "dropout": Difference(("adept",), lambda r: {"bottleneck_dropout": 0.1}),
    "text": Difference(FIRST, lambda r: {"prompt_init": "text", "prompt_init_text": PROMPT_TEXT}),
    "normal": Difference(FIRST, lambda r: {"prompt_init": "standard_normal"}, default=False),
    "units": Difference(
        # superpos mixes rows of the table: the same in any units
        ("adept", "dept", "prompt_tuning", "embedding_lora", "dpt", "ulpt"),
        lambda r: {"units": "plain"},
    ),
    "warmup": Difference(TRAINED_ALIKE, lambda r: {"warmup_steps": WARMUP_STEPS}),
    "epsilon": Difference(TRAINED_ALIKE, lambda r: {"adam_epsilon": 1e-6}),
}
DEFAULTS = {
    one.name: one.default
    for kind in (AdeptConfig, AdeptTrainingArguments)
    for one in fields(kind)
    if one.default is not MISSING
}


@dataclass(frozen=True)
class ReferenceArguments:
    """In what a run follows the authors' code.

    Raises:
        InputError: for an unknown name.
    """

    reference: list[str] = field(
        default_factory=list,
        metadata={
            "help": "do as the authors' code does: all, or names of "
            f"{', '.join(DIFFERENCES)} (docs/methods.md)"
        },
    )

    def __post_init__(self) -> None:
        for name in self.reference:
            if name != ALL and name not in DIFFERENCES:
                raise InputError(
                    f"reference: '{name}' is unknown; give {ALL}, or some of "
                    f"{', '.join(DIFFERENCES)}"
                )
        if ALL in self.reference and len(self.reference) > 1:
            raise InputError(f"reference: '{ALL}' stands alone; leave out the other names, or it")

    def names(self, method: str) -> list[str]:
        """The differences that a method's run adopts.

        Raises:
            InputError: for one that is not the method's, or a method without any.
        """
        known = [name for name, one in DIFFERENCES.items() if method in one.methods]
        if self.reference and not known:
            raise InputError(f"reference: {method} has no known difference; leave it out")
        if self.reference == [ALL]:
            return [name for name in known if DIFFERENCES[name].default]
        for name in self.reference:
            if name not in known:
                raise InputError(
                    f"reference: {method} has no difference '{name}'; it has {', '.join(known)}"
                )
        return list(self.reference)

    def check_length(self, method: str, steps: int) -> None:
        """Refuse a run that is shorter than the authors' warm-up.

        Args:
            method: of the run.
            steps: of the run; 0 or less where they are not known yet.

        Raises:
            InputError: naming the differences that such a run can adopt.
        """
        names = self.names(method)
        if "warmup" not in names or not 0 < steps < WARMUP_STEPS:
            return
        others = " ".join(name for name in names if name != "warmup")
        say = f"give --reference {others}" if others else "leave out --reference"
        raise InputError(
            f"reference: the authors' warm-up takes {WARMUP_STEPS} steps, this run has {steps}; "
            f"train for more (--max_steps), or {say}"
        )


def adopt(found: Namespace) -> None:
    """Give arguments the values that `--reference` stands for.

    Args:
        found: all arguments, by name; changed in place.

    Raises:
        InputError: for a name that the method does not have, a run shorter than the warm-up, or an
            argument that is given another value.
    """
    method = METHODS.get(found.method)
    if not found.reference or method is None:  # the method is refused by its own check
        return
    reference = ReferenceArguments(found.reference)
    reference.check_length(found.method, found.max_steps)
    rank = found.bottleneck_size or method.offset.default_size or 1
    for name in reference.names(found.method):
        for argument, value in DIFFERENCES[name].settings(rank).items():
            given = getattr(found, argument)
            if given not in (DEFAULTS[argument], value):
                raise InputError(
                    f"reference: {name} stands for --{argument} {value}, but {given} is given; "
                    f"leave it out, or name the differences without {name}"
                )
            setattr(found, argument, value)
