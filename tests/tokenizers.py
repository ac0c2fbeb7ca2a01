"""Small tokenizers of the kinds that decoders come with, trained on the spot."""

import json
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "Is the sentiment of this sentence negative or positive?",
    "a joy to watch, and a positive, lovely film.",
    "a negative, dull film that is no joy at all.",
    "Question: what is it?\nAnswer: positive\nAnswer: negative",
] * 5

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Llama 2's: prints BOS itself, strips the content, ignores add_generation_prompt.
LLAMA2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "[INST] {{ m['content'] | trim }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] | trim }} {{ eos_token }}"
    "{% else %}{{ raise_exception('no system role here') }}{% endif %}{% endfor %}"
)
ADD_BOS = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def _wrap(core: Tokenizer, **options: Any) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", **options
    )


def build_byte_level(add_bos: bool = True, **options: Any) -> PreTrainedTokenizerFast:
    """As GPT-2, Llama 3 and Qwen: a space belongs to the word after it, none is made up."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    # As in GPT-2 and Llama 3 the spans leave spaces out.
    trim = processors.ByteLevel(trim_offsets=True)
    core.post_processor = processors.Sequence([trim, ADD_BOS] if add_bos else [trim])
    return _wrap(core, **options)


def build_metaspace(split: bool = True, **options: Any) -> PreTrainedTokenizerFast:
    """As Llama 2: SentencePiece's '▁' in front of any text, other characters by their bytes.

    Without `split` its tokens may reach across spaces, as those of tinystories-656k do.
    """
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=split)
    core.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=450,
        special_tokens=SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)],
        show_progress=False,
    )
    core.train_from_iterator([line.replace("\n", " ") for line in CORPUS], trainer)
    # The bytes came in as special tokens, but must be plain ones for decoding to show them.
    state = json.loads(core.to_str())
    state["added_tokens"] = state["added_tokens"][: len(SPECIAL)]
    core = Tokenizer.from_str(json.dumps(state))
    core.post_processor = ADD_BOS
    return _wrap(core, **options)
