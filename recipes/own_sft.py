"""ADePT under TRL's SFTTrainer: python recipes/own_sft.py BASE ROWS.jsonl OUTPUT_DIR.

ROWS has TRL's columns: prompt and completion, or messages. Give the injected model and no
`peft_config`; packing and padding_free stay off: several texts in one row are refused.
"""

import sys

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

import adept_llm


def main(base: str, rows: str, output_dir: str, steps: int = 200) -> SFTTrainer:
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
    trainer.train(resume_from_checkpoint="--resume" in sys.argv)
    trainer.save_model()
    return trainer


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
