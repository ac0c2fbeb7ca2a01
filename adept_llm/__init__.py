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
        merge_adapter,
        save_adapter,
    )
    from adept_llm.errors import InputError
    from adept_llm.hub import push_to_hub

# where bitsandbytes is installed, every import of Trainer would warn of a kernel that it misses on
# CPUs and does well without
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

__version__ = "0.1.0"
__all__ = [
    "AdeptConfig",
    "InputError",
    "get_adapter",
    "inject_adapter",
    "load_adapter",
    "merge_adapter",
    "push_to_hub",
    "save_adapter",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'adept_llm' has no attribute {name!r}")
    import importlib

    elsewhere = {"InputError": "adept_llm.errors", "push_to_hub": "adept_llm.hub"}
    module = elsewhere.get(name, "adept_llm.adapters")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
