"""Pretrain the tiny Llama of the demo: python -m adept_llm.demo.pretrain --output DIR.

One flat script: write the stories, learn a tokenizer from them, train, save. It takes about five
minutes on one CPU core. The demo itself never runs it; it uses the result in adept_llm/demo/model.
"""

import argparse
import random
import time
from pathlib import Path

from adept_llm.demo.world import INSTRUCTION, stories

VOCAB_SIZE = 1024
MAX_LENGTH = 128  # tokens of a story that are trained on
BATCH = 32
LEARNING_RATE = 3e-3
WARMUP = 100


def main(argv: list[str] | None = None) -> None:
    """Generate the text, train the tokenizer and the model, and write both to a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2000)
    args = parser.parse_args(argv)

    import tokenizers
    import torch
    import transformers

    # One thread: sums come out in the same order on every run, and the model is too small for two.
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    shuffler = random.Random(args.seed)
    texts = list(stories(args.seed, args.steps * BATCH))

    # Tokenizer: byte-level BPE, no unknown text; <unk> only serves as padding. -----------------
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts[:20_000] + [INSTRUCTION] * 1000, trainer)
    bpe.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        pad_token="<unk>", model_max_length=512,
    )  # fmt: skip

    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    )
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(texts):,} stories")

    # Every story is seen once. Batches of similar lengths save padding. -------------------------
    rows = [encoding.ids[: MAX_LENGTH - 1] + [2] for encoding in bpe.encode_batch(texts)]
    batches = []
    for start in range(0, len(rows), 32 * BATCH):
        chunk = sorted(rows[start : start + 32 * BATCH], key=len)
        groups = [chunk[i : i + BATCH] for i in range(0, len(chunk), BATCH)]
        shuffler.shuffle(groups)
        batches += groups

    # Train. -------------------------------------------------------------------------------------
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARMUP, 1 - step / args.steps)
    )
    began, smooth = time.time(), 0.0
    for step, batch in enumerate(batches):
        width = max(map(len, batch))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in batch])  # (BATCH, width)
        # Padding is on the right: causal attention never sees it, and no loss is taken on it.
        loss = model(input_ids=ids, labels=ids.masked_fill(ids == 0, -100)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        smooth = loss.item() if step == 0 else 0.98 * smooth + 0.02 * loss.item()
        if step % 100 == 0 or step == len(batches) - 1:
            print(f"step {step:5d}  loss {smooth:.4f}  {time.time() - began:4.0f} s", flush=True)

    model.half().save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)


if __name__ == "__main__":
    main()
