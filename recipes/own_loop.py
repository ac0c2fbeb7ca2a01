"""ADePT in a torch loop of one's own: python recipes/own_loop.py BASE ROWS.jsonl OUTPUT_DIR."""

import argparse

import torch
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

import adept_llm


def main(base: str, rows: str, output_dir: str, epochs: int = 2) -> None:
    """Tune, save, load, answer."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).to(device)
    model = adept_llm.inject_adapter(
        model, adept_llm.AdeptConfig("adept", num_virtual_tokens=20, bottleneck_size=39)
    )

    encoder = adept_llm.Encoder(tokenizer, template="plain", max_length=256)
    examples, report = encoder.encode_all(adept_llm.read_instructions(rows))
    batches = DataLoader(
        examples, batch_size=16, shuffle=True, collate_fn=adept_llm.make_batcher(model)
    )
    optimizer = torch.optim.AdamW(adept_llm.parameter_groups(model, 0.03, 0.003))  # prompt, offset
    print(report)

    model.train()
    for epoch in range(epochs):
        for batch in batches:
            batch = send_to_device(batch, device)
            logits = model(**batch["inputs"], use_cache=False).logits
            loss = adept_llm.summed_loss(logits, batch["labels"]) / (batch["labels"] != -100).sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}")
    adept_llm.save_adapter(model, output_dir)

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).to(device)
    model = adept_llm.load_adapter(model, output_dir)
    asked = tokenizer.decode(examples[0].prompt_ids, skip_special_tokens=True)
    ids = tokenizer(asked, return_tensors="pt").to(device)
    answered = model.generate(**ids, max_new_tokens=8, do_sample=False)  # puts P in front by itself
    print(tokenizer.decode(answered[0], skip_special_tokens=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", metavar="BASE", help="folder or name of the frozen model")
    parser.add_argument("rows", metavar="ROWS.jsonl", help="rows to train on")
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="folder of the adapter")
    main(**vars(parser.parse_args()))
