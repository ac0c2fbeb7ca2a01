"""Examples are tokenised once: by several processes, into a folder that is named by their content.

The folder lies in the cache of `datasets` (HF_DATASETS_CACHE, HF_HOME). Its name is a hash of all
that decides what is in it: the bytes of the data file, which rows are drawn, tokenizer, template,
length, loss and the code itself. Whoever comes first makes it, under a lock that vanishes with its
process, and the others wait: ranks, nodes that share a disk or not, other runs. No collective waits
meanwhile, so none can time out. Small sets are tokenised at each start, in memory.
"""

import json
import logging
import shutil
import zlib
from contextlib import AbstractContextManager
from functools import partial
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from adept_llm.data.encoding import Encoder
from adept_llm.data.json_lines import BLOCK
from adept_llm.data.source import Examples, Source
from adept_llm.data.stored import About, Stored
from adept_llm.data.writing import write_encoded
from adept_llm.files import unfinished_name, whole_folder

LOG = logging.getLogger(__name__)
LEAST_ROWS = 20_000  # that are stored: fewer are tokenised in a few seconds
ROWS_FILE, ABOUT_FILE = "rows.arrow", "about.json"


def encode_source(encoder: Encoder, source: Source) -> Stored:
    """Encode a source to train on, or find it encoded.

    Args:
        encoder: With the template, the length and the loss.
        source: Of the examples.

    Raises:
        InputError: The source is missing or broken, nothing fits, or as `Encoder.encode`.
    """
    folder = _folder(encoder, source)
    if folder and (found := _read(folder)):
        return found
    examples = source.open()
    if folder and len(examples) >= LEAST_ROWS:
        try:
            return _made(folder, encoder, examples)
        except OSError as error:
            LOG.warning(
                "%s: cannot be written (%s); the rows are kept in memory, and tokenised again at "
                "the next start; point HF_DATASETS_CACHE to a folder with room", folder, error,
            )  # fmt: skip
    return _in_memory(encoder, examples)


def _folder(encoder: Encoder, source: Source) -> Path | None:
    """Where a source's rows are, or would be; None where nothing is to be kept."""
    import datasets

    given = source.key()
    if given is None or not datasets.is_caching_enabled():
        return None
    tokenizer: Any = encoder.tokenizer
    tokens = (
        type(tokenizer).__name__, tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template,
        tokenizer.special_tokens_map,
    )  # fmt: skip
    decides = {
        "source": given,
        "encoder": [encoder.template, encoder.max_length, encoder.loss_on, tokens],
        "code": _code(),
        "versions": [version(name) for name in ("transformers", "tokenizers")],
    }
    text = json.dumps(decides, sort_keys=True, default=str)
    name = blake2b(text.encode(), digest_size=16).hexdigest()
    return Path(datasets.config.HF_DATASETS_CACHE) / "adept_llm" / name


def _code() -> str:
    """A hash of the code that reads rows and encodes them."""
    digest = blake2b(digest_size=16)
    package = Path(__file__).parents[1]
    for room in ("data", "tasks"):
        for path in sorted((package / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _made(folder: Path, encoder: Encoder, examples: Examples) -> Stored:
    """Encode into a folder, unless another process does; then wait for it.

    Raises:
        OSError: It cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _held(FileLock(folder.with_suffix(".lock"))):
        if found := _read(folder):
            return found
        for left in (folder, *folder.parent.glob(f"{unfinished_name(folder)}*")):
            shutil.rmtree(left, ignore_errors=True)
        LOG.info("%s rows are tokenised, once", f"{len(examples):,}")
        try:
            whole_folder(folder, partial(_write, encoder, examples))
            LOG.info("the tokenised rows are kept in %s", folder)
        except OSError:
            # where a disk's locks hold on one machine only, another one may have been first
            if not folder.is_dir():
                raise
        if found := _read(folder):
            return found
    raise OSError("what was written cannot be read")


def _held(lock: FileLock) -> AbstractContextManager[Any]:
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        LOG.info("waiting for another process that tokenises the same rows")
        return lock.acquire()


def _write(encoder: Encoder, examples: Examples, folder: Path) -> None:
    import pyarrow as pa

    path = folder / ROWS_FILE
    with pa.OSFile(str(path), "wb") as file:
        about = write_encoded(encoder, examples, file)
    told = {"about": about.to_json(), "checksum": _checksum(path)}
    (folder / ABOUT_FILE).write_text(json.dumps(told, indent=1) + "\n")


def _read(folder: Path) -> Stored | None:
    """What a folder holds; None where there is nothing, or where it is damaged."""
    import pyarrow as pa
    from datasets import Dataset

    if not folder.is_dir():
        return None
    try:
        told = json.loads((folder / ABOUT_FILE).read_text())
        if told["checksum"] != _checksum(folder / ROWS_FILE):
            raise ValueError("its checksum is wrong")
        return Stored(Dataset.from_file(str(folder / ROWS_FILE)), About.from_json(told["about"]))
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
        LOG.warning("%s: is damaged (%s), and made anew", folder, error)
        return None


def _checksum(path: Path) -> list[int]:
    """A file's size and CRC-32: against disks and copies, not against forgers."""
    size = check = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size, check = size + len(block), zlib.crc32(block, check)
    return [size, check]


def _in_memory(encoder: Encoder, examples: Examples) -> Stored:
    import pyarrow as pa
    from datasets import Dataset

    sink = pa.BufferOutputStream()
    about = write_encoded(encoder, examples, sink)
    return Stored(Dataset.from_buffer(sink.getvalue()), about)
