"""The frozen model and its tokenizer: everything checked before a weight is read."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adept_llm.base.memory import is_full
from adept_llm.base.quantization import check_quantization, loading_options, prepare_for_adapters
from adept_llm.compat.config import note_commit
from adept_llm.compat.deepspeed import sharded_as, shards_weights
from adept_llm.compat.transformers import is_quantized
from adept_llm.errors import InputError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# what goes with a base's weights wherever they go
TERMS = ("LICENSE*", "NOTICE*", "USE_POLICY*")


def load_config(name_or_path: str, revision: str | None = None) -> Any:
    """The model's configuration.

    Raises:
        InputError: if there is none, or the hub cannot be reached.
    """
    from transformers import AutoConfig

    if Path(name_or_path).is_dir() and not (Path(name_or_path) / "config.json").is_file():
        raise InputError(f"model_name_or_path: {name_or_path} has no config.json")
    local = Path(name_or_path) / "config.json"
    if local.is_file():
        _check_model_type(local)
    try:
        return AutoConfig.from_pretrained(name_or_path, revision=revision)
    except Exception as error:  # each kind of model computes with its fields in code of its own
        if local.is_file() or not isinstance(error, OSError | ValueError):
            where = local if local.is_file() else name_or_path
            raise InputError(f"model_name_or_path: {where}: {_first_line(error)}") from error
        raise InputError(
            f"model_name_or_path: {name_or_path} is neither a folder here nor a model the hub "
            f"gives out ({_first_line(error)}); give a local folder"
        ) from error


def load_tokenizer(name_or_path: str, revision: str | None = None) -> Any:
    """The tokenizer.

    Raises:
        InputError: if there is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name_or_path, revision=revision)
    except Exception as error:  # a tokenizer.model is read by whatever libraries are there
        if _has_only_sentencepiece(Path(name_or_path)):
            raise InputError(
                f"tokenizer: {name_or_path} has a tokenizer.model, but no tokenizer.json; "
                "`pip install sentencepiece protobuf` converts it when it is read "
                f"({_first_line(error)})"
            ) from error
        if not isinstance(error, OSError | ValueError | ImportError):
            raise
        raise InputError(f"tokenizer: {name_or_path} has none ({_first_line(error)})") from error


def load_model(
    name_or_path: str,
    revision: str | None = None,
    dtype: str | torch.dtype = "auto",
    quantization: str = "none",
) -> Any:
    """The decoder, in evaluation mode, on the GPU where there is one.

    Where training arguments with a ZeRO-3 configuration exist, each rank reads its share alone.

    Args:
        name_or_path: hub name or folder.
        revision: commit on the hub.
        dtype: of the weights and the computation, see `pick_dtype`.
        quantization: none, nf4 or int8; of the linear layers.

    Raises:
        InputError: if weights are missing, damaged or of another shape than config.json says, or
            the quantisation cannot work.
    """
    from transformers import AutoModelForCausalLM

    config = load_config(name_or_path, revision)
    wanted = pick_dtype(dtype, config)
    shards = shards_weights()
    check_quantization(quantization, config, wanted, 3 if shards else 0)
    read: Any = AutoModelForCausalLM.from_pretrained
    try:
        with sharded_as(wanted):
            model, told = read(
                name_or_path,
                revision=revision,
                dtype=wanted,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # `_check_whole` names them
                **loading_options(quantization, wanted),
            )
    except Exception as error:  # config.json names the code that runs, the files what it reads
        if is_full(error) or isinstance(error, torch.AcceleratorError):
            raise
        raise InputError(f"model_name_or_path: {name_or_path}: {_first_line(error)}") from error
    _check_whole(model, told, name_or_path, quantization)
    note_commit(model.config, name_or_path, revision)
    prepare_for_adapters(model, shards)
    if not shards and not is_quantized(model):
        model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    return model.eval()


def base_folder(name_or_path: str, revision: str | None = None) -> Path:
    """The folder with a base's files; one of the hub is downloaded where it is not in the cache.

    Raises:
        InputError: for a base that cannot be had.
    """
    if Path(name_or_path).is_dir():
        return Path(name_or_path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    wanted = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt", *TERMS]
    try:
        found = snapshot_download(name_or_path, revision=revision, allow_patterns=wanted)
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        raise InputError(f"model_name_or_path: {name_or_path}: {_first_line(error)}") from error
    return Path(found)


def lasting_name(name_or_path: str) -> str:
    """What a base is called wherever one stands: a folder here by its whole path."""
    path = Path(name_or_path)
    return str(path.resolve()) if path.is_dir() else name_or_path


@contextmanager
def named_by(adapter: str | Path) -> Iterator[None]:
    """Say of a base that cannot be had who asks for it: the user gave no name.

    Raises:
        InputError: with what was raised in between.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{error} (the adapter {adapter} names it)") from error


def pick_dtype(dtype: str | torch.dtype, config: "PretrainedConfig") -> torch.dtype:
    """The frozen weights' dtype: as asked, else the checkpoint's, but not float16.

    float16 has no room for large activations and its gradients underflow; bfloat16 takes its place
    on GPUs that have it, float32 on CPUs, whose float16 products are forty times slower.

    Raises:
        InputError: for one that is none of `DTYPES`.
    """
    name = str(dtype).removeprefix("torch.")
    if name in DTYPES:
        return DTYPES[name]
    if name != "auto":
        raise InputError(f"dtype: {name} is unknown; choose one of auto, {', '.join(DTYPES)}")
    stored = getattr(config, "dtype", None) or torch.float32
    if stored != torch.float16:
        return stored
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def context_of(config: "PretrainedConfig") -> int | None:
    """Tokens that a model reads at most; None where its configuration names no limit."""
    return getattr(config, "max_position_embeddings", None)


def check_context(
    config: "PretrainedConfig", num_virtual_tokens: int, max_length: int, max_new_tokens: int = 0
) -> None:
    """Refuse a prompt, text and answer that exceed the model's context.

    Args:
        config: the model's.
        num_virtual_tokens: m.
        max_length: tokens of a text and its target.
        max_new_tokens: of an answer written behind a text of that length.

    Raises:
        InputError: naming what has to be smaller.
    """
    context = context_of(config)
    if context is None:
        return
    if num_virtual_tokens > context - 2:
        raise InputError(
            f"num_virtual_tokens: {num_virtual_tokens} virtual tokens leave no room for text in "
            f"the model's context of {context}; set --num_virtual_tokens {context // 2} or less"
        )
    if num_virtual_tokens + max_length > context:
        raise InputError(
            f"max_length: {num_virtual_tokens} virtual tokens and {max_length} tokens of text "
            f"exceed the model's context of {context}; set --max_length "
            f"{context - num_virtual_tokens} or less"
        )
    surplus = num_virtual_tokens + max_length + max_new_tokens - context
    if surplus > 0:
        raise InputError(
            f"max_new_tokens: {num_virtual_tokens} virtual tokens, {max_length} tokens of text and "
            f"{max_new_tokens} new ones exceed the model's context of {context}; lower "
            f"--max_new_tokens or --max_length by {surplus}"
        )


def _check_model_type(path: Path) -> None:
    """Refuse a config.json that is damaged, or of a kind that transformers does not know.

    Raises:
        InputError: naming the kind.
    """
    from transformers import CONFIG_MAPPING
    from transformers import __version__ as version

    try:
        kind = json.loads(path.read_text("utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"model_name_or_path: {path} is damaged ({_first_line(error)})") from error
    if not isinstance(kind, str):
        raise InputError(f"model_name_or_path: {path} names no model_type; complete it")
    if kind not in CONFIG_MAPPING:
        close = get_close_matches(kind, list(CONFIG_MAPPING), 1)
        meant = f"did you mean {close[0]}? Otherwise " if close else ""
        raise InputError(
            f"model_name_or_path: {path}: transformers {version} knows no model_type {kind!r}; "
            f"{meant}upgrade transformers or take another model"
        )


def _has_only_sentencepiece(folder: Path) -> bool:
    return (folder / "tokenizer.model").is_file() and not (folder / "tokenizer.json").is_file()


def _check_whole(
    model: "PreTrainedModel", told: dict[str, Any], name_or_path: str, quantization: str
) -> None:
    """Refuse a base of which transformers made up a part, with a table that is easily missed.

    Args:
        model: as loaded; tied heads are no longer missing.
        told: what `from_pretrained` says about the tensors.
        name_or_path: the base.
        quantization: as asked for.

    Raises:
        InputError: naming the first tensors.
    """
    where = f"model_name_or_path: {name_or_path}"
    for name, stored, wanted in sorted(told["mismatched_keys"]):
        raise InputError(
            f"{where}: {name} is stored as {[*stored]}, config.json makes it {[*wanted]}; take "
            "weights and config.json from one model"
        )
    if quantization == "none" and is_quantized(model):
        return  # as it is stored: each method has names of its own for what it keeps
    # a buffer is computed, and a file without it as good as any
    learnt = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    if missing := sorted(learnt & set(told["missing_keys"])):
        more = ", .." if len(missing) > 3 else ""
        raise InputError(
            f"{where}: {len(missing)} of the model's {len(learnt)} tensors are not in its files "
            f"({', '.join(missing[:3])}{more}); take all files of a causal language model"
        )


def _first_line(error: Exception) -> str:
    """What an error says, with the second line where the first ends in a colon."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    if isinstance(error, KeyError):  # its text is the key alone
        return f"{lines[0]} is not known"
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
