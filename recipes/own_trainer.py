"""ADePT under stock transformers.Trainer: python recipes/own_trainer.py BASE ROWS.jsonl OUTPUT_DIR.

Checkpoints, --resume and the best model work; a checkpoint holds the adapter, no row of the base.
"""

import argparse

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments
from transformers import DataCollatorForSeq2Seq as Collator

import adept_llm


def main(base: str, rows: str, output_dir: str, steps: int = 200, resume: bool = False) -> Trainer:
    """Tune on all rows but the last tenth, which chooses the best checkpoint."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # Llama-2 and GPT-2 have none
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    model = adept_llm.inject_adapter(
        model, adept_llm.AdeptConfig("adept", num_virtual_tokens=20, bottleneck_size=39)
    )
    encoder = adept_llm.Encoder(tokenizer, template="plain", max_length=256)
    data = [  # without virtual tokens: the model puts them in front of each text by itself
        {
            "input_ids": e.prompt_ids + e.target_ids,
            "labels": [-100] * len(e.prompt_ids) + e.target_ids,
        }
        for e in encoder.encode_all(adept_llm.read_instructions(rows))[0]
    ]
    held_out = max(1, len(data) // 10)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir, max_steps=steps, per_device_train_batch_size=16, eval_strategy="steps",
            eval_steps=steps // 4, save_steps=steps // 4, load_best_model_at_end=True,
            lr_scheduler_type="linear", warmup_steps=steps // 16, report_to="none",
        ),
        train_dataset=data[:-held_out],
        eval_dataset=data[-held_out:],
        data_collator=Collator(tokenizer),
        optimizers=(torch.optim.AdamW(adept_llm.parameter_groups(model, 0.03, 0.003)), None),
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model()  # adept-llm evaluate, generate and merge take the folder
    return trainer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", metavar="BASE", help="folder or name of the frozen model")
    parser.add_argument("rows", metavar="ROWS.jsonl", help="rows to train on")
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="folder of the adapter")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    main(**vars(parser.parse_args()))
