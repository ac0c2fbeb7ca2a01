"""Small runs on a random Llama, for the tests of training."""

from typing import Any

from adept_llm.adapters import AdeptConfig, inject_adapter
from adept_llm.data import Encoded
from adept_llm.packing import make_batcher
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.log_file import LogFile, read_losses
from adept_llm.training.trainer import AdeptTrainer
from tests.builders import make_examples, small_model

CONFIG = AdeptConfig("adept", 4, 3, bottleneck_dropout=0.3)
EXAMPLES: list[Encoded] = make_examples([(3 + i % 5, 1 + i % 3) for i in range(23)])


def trainer_of(
    folder: Any,
    evaluate: Any = None,
    callbacks: Any = (),
    config: AdeptConfig = CONFIG,
    model: Any = None,
    **arguments: Any,
) -> Any:
    """A trainer with dropout in the adapter; 23 examples in batches of 8, three steps an epoch."""
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "max_steps": 8,
        "warmup_steps": min(2, arguments.get("max_steps", 8)),
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "steps",
        "save_steps": 1,
        "seed": 5,
    }
    args = AdeptTrainingArguments(**{**settings, **arguments})
    model = inject_adapter(model or small_model("llama"), config)
    batcher = make_batcher(model, args.packing, 16)
    return AdeptTrainer(model, args, EXAMPLES, batcher, evaluate, callbacks=[LogFile(), *callbacks])


def losses_of(folder: Any, resume: Any = None, **arguments: Any) -> dict[int, float]:
    """Train, and read the losses of all steps."""
    trainer_of(folder, **arguments).train(resume_from_checkpoint=resume)
    return read_losses(folder)
