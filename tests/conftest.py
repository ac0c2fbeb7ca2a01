"""One thread for each process, and tokenizers of all kinds."""

import json
import os

# small products gain nothing from more threads, and ranks share the cores; torch looks at this once
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import pytest  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402

from tests.tokenizers import CHATML, LLAMA2, build_byte_level, build_metaspace  # noqa: E402

CLUSTER = "tests/slurm/"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Side by side (-n 2) a file stays whole, and so do all files that need the one cluster."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return CLUSTER if file.startswith(CLUSTER) else file

    return Files(config, log)


@pytest.fixture(scope="session")
def yes_no_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three files of sixteen rows with two labels: train, validation and test."""
    folder = tmp_path_factory.mktemp("yes_no_rows")
    for name in ("train", "validation", "test"):
        lines = [{"prompt": f"{i} is", "completion": ("yes", "no")[i % 2]} for i in range(16)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder


@pytest.fixture(scope="session")
def make_byte_level() -> Callable[..., PreTrainedTokenizerFast]:
    """Makes one that a test may change."""
    return build_byte_level


@pytest.fixture(scope="session")
def byte_level() -> PreTrainedTokenizerFast:
    """Byte-level BPE that adds BOS."""
    return build_byte_level()


@pytest.fixture(scope="session")
def metaspace() -> PreTrainedTokenizerFast:
    """SentencePiece-like BPE that adds BOS."""
    return build_metaspace()


@pytest.fixture(scope="session")
def merging() -> PreTrainedTokenizerFast:
    """SentencePiece-like BPE with tokens across spaces."""
    return build_metaspace(split=False)


@pytest.fixture(scope="session")
def chatml() -> PreTrainedTokenizerFast:
    """Byte-level BPE without BOS, with the chat template of Qwen."""
    return build_byte_level(add_bos=False, chat_template=CHATML)


@pytest.fixture(scope="session")
def llama2_chat() -> PreTrainedTokenizerFast:
    """SentencePiece-like BPE whose chat template prints BOS itself."""
    return build_metaspace(chat_template=LLAMA2)


@pytest.fixture(scope="session")
def tokenizers(
    byte_level: PreTrainedTokenizerFast,
    metaspace: PreTrainedTokenizerFast,
    merging: PreTrainedTokenizerFast,
    chatml: PreTrainedTokenizerFast,
    llama2_chat: PreTrainedTokenizerFast,
) -> dict[str, PreTrainedTokenizerFast]:
    """All of them by name."""
    return {
        "byte_level": byte_level,
        "metaspace": metaspace,
        "merging": merging,
        "chatml": chatml,
        "llama2_chat": llama2_chat,
    }
