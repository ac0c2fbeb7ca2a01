"""ADePT under TRL's SFTTrainer: python recipes/own_sft.py BASE ROWS.jsonl OUTPUT_DIR.

ROWS has TRL's columns: prompt and completion, or messages. Give the injected model and no
`peft_config`; packing and padding_free stay off: several texts in one row are refused.
"""

import argparse

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

import adept_llm


def main(
    base: str, rows: str, output_dir: str, steps: int = 200, resume: bool = False
) -> SFTTrainer:
    """Tune and save."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    model = adept_llm.inject_adapter(
        model, adept_llm.AdeptConfig("adept", num_virtual_tokens=20, bottleneck_size=39)
    )
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir, max_steps=steps, per_device_train_batch_size=16, max_length=256,
            save_steps=steps // 4, warmup_steps=steps // 16, report_to="none",
            bf16=False,  # the base is in bf16, what is trained stays in fp32
        ),
        train_dataset=load_dataset("json", data_files=rows, split="train"),
        processing_class=AutoTokenizer.from_pretrained(base),
        optimizers=(torch.optim.AdamW(adept_llm.parameter_groups(model, 0.03, 0.003)), None),
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model()
    return trainer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", metavar="BASE", help="folder or name of the frozen model")
    parser.add_argument("rows", metavar="ROWS.jsonl", help="rows to train on")
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="folder of the adapter")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    main(**vars(parser.parse_args()))
