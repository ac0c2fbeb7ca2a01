"""Format gguf: a merged model for llama.cpp, Ollama and LM Studio.

GGUF knows nothing that stands in front of a text but BOS, and that comes before all else. The order
is [P][BOS][text], so the file says that no BOS is added, and its chat template writes both.
"""

import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from adept_llm.adapters.merge import virtual_token_names
from adept_llm.base.loading import DTYPES
from adept_llm.errors import InputError
from adept_llm.export.card import write_gguf_card
from adept_llm.export.chat_forms import go_template, jinja_template
from adept_llm.export.hf import write_hf
from adept_llm.export.llama_cpp import OUT_TYPES, add_no_bos, convert, find_llama_cpp
from adept_llm.export.merged import as_stored
from adept_llm.export.options import ExportOptions
from adept_llm.export.safetensors_files import DTYPES as STORED
from adept_llm.export.stored_base import StoredBase
from adept_llm.tuned import Tuned

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

FILE, MODELFILE = "model.gguf", "Modelfile"
RAW = (
    "chat puts the prompt in front by itself; text that is completed without a chat template has "
    "to begin with:\n%s"
)


def write_gguf(tuned: Tuned, options: ExportOptions, target: Path) -> None:
    """Merge into a folder that is deleted afterwards, convert it, and write a Modelfile for Ollama.

    Args:
        tuned: The adapter and its base.
        options: `llama_cpp` names another converter than the pinned one.
        target: An empty folder.

    Raises:
        InputError: for an adapter that does not fit or cannot be merged, an architecture that
            llama.cpp does not know, a run by a chat template that its base no longer has, a base
            that was merged itself, a full disk, or a converter that cannot be had.
    """
    template = jinja_template(tuned.template, tuned.tokenizer.chat_template, tuned.form)
    if template is None:
        raise InputError("gguf: the run's template is chat, and its base has no chat template")
    if own := own_prompt(tuned.tokenizer):
        raise InputError(
            f"gguf: the base was merged itself, and its tokenizer writes {own[0]}.. in front of "
            "each text, which no GGUF does; export it as --format hf"
        )
    llama_cpp = find_llama_cpp(options.llama_cpp)
    merged = target / "merged"
    merged.mkdir()
    write_hf(tuned, options, merged, copies=2)
    m = tuned.config.num_virtual_tokens
    prompt = "".join(virtual_token_names(tuned.tokenizer, m))
    bos = bos_text(tuned.tokenizer)
    chat = raw = prompt + bos if m else ""
    if tuned.template == "chat":
        chat = prompt  # the base's chat template writes what BOS there is
    if chat:
        template = f"{{{{ {json.dumps(chat, ensure_ascii=False)} }}}}{template.lstrip()}"
    prepare(merged, tuned.tokenizer, template)
    convert(llama_cpp, merged, target / FILE, dtype_of(merged, tuned))
    shutil.rmtree(merged)
    if m:
        if bos:
            add_no_bos(llama_cpp, target / FILE)
        log.info(RAW, raw)
    (target / MODELFILE).write_text(modelfile(tuned, chat), "utf-8")
    write_gguf_card(tuned, target, FILE, raw)


def dtype_of(merged: Path, tuned: Tuned) -> torch.dtype:
    """What a merged folder's weights are computed in: as given, by config.json, or as they lie."""
    kind = as_stored(tuned).dtype
    if kind in DTYPES:
        return DTYPES[kind]
    base = StoredBase.find(merged, tuned.base_config)
    # what is loaded because it lies in other files is float32 then
    found = STORED[base.stored_table.dtype] if base else torch.float32
    return found if found in OUT_TYPES else torch.float32


def own_prompt(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """The virtual tokens that a base's tokenizer puts in front of texts, as it was merged."""
    written = [str(tokenizer.convert_ids_to_tokens(i)) for i in tokenizer("").input_ids]
    return [name for name in written if name.startswith("<|adept_")]


def bos_text(tokenizer: "PreTrainedTokenizerBase") -> str:
    """BOS as text, where the tokenizer writes one; the template of a chat writes its own."""
    ids = tokenizer("a").input_ids
    has = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
    return str(tokenizer.bos_token) if has else ""


def prepare(merged: Path, tokenizer: "PreTrainedTokenizerBase", template: str) -> None:
    """Write a merged folder's tokenizer as the converter can read it.

    It knows a BPE tokenizer by what it makes of a text, so nothing may stand in front of one; and
    it takes one chat template.

    Args:
        merged: The folder.
        tokenizer: The base's.
        template: Of chats, in Jinja.
    """
    path = merged / "tokenizer.json"
    content = json.loads(path.read_bytes())
    own = json.loads(tokenizer.backend_tokenizer.to_str())["post_processor"]
    content["post_processor"] = own
    path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    path = merged / "tokenizer_config.json"
    content = json.loads(path.read_bytes())
    content.pop("chat_template", None)
    if not bos_text(tokenizer):  # else the converter writes that BOS is added, to be unset
        content["add_bos_token"] = False
    path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    shutil.rmtree(merged / "additional_chat_templates", ignore_errors=True)
    (merged / "chat_template.jinja").write_text(template, "utf-8")


def modelfile(tuned: Tuned, head: str) -> str:
    """For `ollama create`; `head` stands in front of every conversation."""
    lines = [f"FROM ./{FILE}"]
    template = go_template(tuned.template, tuned.tokenizer, tuned.form)
    if template is not None:
        lines.append(f'TEMPLATE """{head}{template}"""')
    else:
        lines.append(
            "# Ollama's language cannot write the base's chat template: the text stands alone"
        )
        lines.append(f'TEMPLATE """{head}{{{{ .Prompt }}}}"""')
    if tuned.tokenizer.eos_token:
        lines.append(f"PARAMETER stop {json.dumps(tuned.tokenizer.eos_token)}")
    return "\n".join(lines) + "\n"
