"""ADePT on many GPUs: accelerate launch recipes/own_accelerate.py BASE ROWS.jsonl OUTPUT_DIR.

The loss is the mean over the target tokens of all processes. Each takes 16 rows a step, and where
an epoch's rows do not suffice for all, Accelerate gives some of them twice (even_batches).
"""

import argparse

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

import adept_llm


def main(base: str, rows: str, output_dir: str, epochs: int = 2) -> None:
    """Tune and save."""
    accelerator = Accelerator()
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    model = adept_llm.inject_adapter(
        model, adept_llm.AdeptConfig("adept", num_virtual_tokens=20, bottleneck_size=39)
    )
    encoder = adept_llm.Encoder(tokenizer, template="plain", max_length=256)
    examples, _ = encoder.encode_all(adept_llm.read_instructions(rows))
    batches = DataLoader(
        examples, batch_size=16, shuffle=True, collate_fn=adept_llm.make_batcher(model)
    )
    optimizer = torch.optim.AdamW(adept_llm.parameter_groups(model, 0.03, 0.003))
    wrapped, optimizer, batches = accelerator.prepare(model, optimizer, batches)

    wrapped.train()
    for epoch in range(epochs):
        for batch in batches:
            targets = accelerator.reduce((batch["labels"] != -100).sum())
            logits = wrapped(**batch["inputs"], use_cache=False).logits
            # processes average their gradients; the sum of theirs is wanted
            total = adept_llm.summed_loss(logits, batch["labels"]) * accelerator.num_processes
            accelerator.backward(total / targets)
            optimizer.step()
            optimizer.zero_grad()
        accelerator.print(f"epoch {epoch + 1}: loss {(total / targets).item():.3f}")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        adept_llm.save_adapter(accelerator.unwrap_model(wrapped), output_dir)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", metavar="BASE", help="folder or name of the frozen model")
    parser.add_argument("rows", metavar="ROWS.jsonl", help="rows to train on")
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="folder of the adapter")
    main(**vars(parser.parse_args()))
