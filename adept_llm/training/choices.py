"""Names of arguments whose libraries may be missing, tried before the base's weights are read."""

from transformers import Trainer, TrainingArguments

from adept_llm.compat.reporting import start_reporters
from adept_llm.errors import InputError


def check_choices(args: TrainingArguments) -> None:
    """Refuse a --report_to or --optim that cannot be had here.

    Raises:
        InputError: with what its library says.
    """
    for name in args.report_to or ():
        try:
            start_reporters([name])
        except (RuntimeError, ImportError, ValueError, AssertionError) as error:
            raise InputError(
                f"report_to: {name!r} cannot be had ({_line(error)}); install its package, or give "
                "--report_to tensorboard or none"
            ) from error
    try:
        Trainer.get_optimizer_cls_and_kwargs(args)
    except (RuntimeError, ImportError, ValueError, AttributeError, TypeError) as error:
        optim = getattr(args.optim, "value", args.optim)
        raise InputError(
            f"optim: {optim!r} cannot be had ({_line(error)}); leave it out for AdamW"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
