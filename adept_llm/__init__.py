"""adept_llm: tune the prompt and the embedding layer of large language models.

The public API; names are imported when they are first used, so that `import adept_llm` is quick.
"""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adept_llm.adapters import (
        AdeptConfig,
        get_adapter,
        inject_adapter,
        load_adapter,
        load_adapters,
        merge_adapter,
        parameter_groups,
        save_adapter,
        without_adapter,
    )
    from adept_llm.data import Encoder, read_instructions
    from adept_llm.errors import InputError
    from adept_llm.hub import push_to_hub
    from adept_llm.packing import make_batcher, summed_loss
    from adept_llm.tuned import Tuned

# where bitsandbytes is installed, every import of Trainer would warn of a kernel that it misses on
# CPUs and does well without
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

__version__ = "0.1.0"
__all__ = [
    "AdeptConfig",
    "Encoder",
    "InputError",
    "Tuned",
    "get_adapter",
    "inject_adapter",
    "load_adapter",
    "load_adapters",
    "make_batcher",
    "merge_adapter",
    "parameter_groups",
    "push_to_hub",
    "read_instructions",
    "save_adapter",
    "summed_loss",
    "without_adapter",
]
_ELSEWHERE = {
    "Encoder": "data",
    "InputError": "errors",
    "Tuned": "tuned",
    "make_batcher": "packing",
    "push_to_hub": "hub",
    "read_instructions": "data",
    "summed_loss": "packing",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'adept_llm' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f"adept_llm.{_ELSEWHERE.get(name, 'adapters')}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
