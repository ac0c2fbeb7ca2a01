"""ADePT as a LightningModule: python recipes/own_lightning.py BASE ROWS.jsonl OUTPUT_DIR.

On one device: over several, the loss is a mean of means and each process would save. For those see
own_accelerate.py.
"""

import argparse
from typing import Any

import lightning
import torch
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

import adept_llm


class Tuning(lightning.LightningModule):
    """An injected model; its checkpoints hold what is trained, and no row of the base."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.strict_loading = False  # the base comes from its own folder

    def transfer_batch_to_device(self, batch: Any, device: torch.device, index: int) -> Any:
        """Tensors go to the device; the layout of a packed row stays as it is."""
        return send_to_device(batch, device)

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        """Mean loss over the batch's target tokens."""
        logits = self.model(**batch["inputs"], use_cache=False).logits
        loss = adept_llm.summed_loss(logits, batch["labels"]) / (batch["labels"] != -100).sum()
        self.log("loss", loss, prog_bar=True, batch_size=len(batch["example_ids"]))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Two groups: the prompt, and the offset."""
        return torch.optim.AdamW(adept_llm.parameter_groups(self.model, 0.03, 0.003))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is trained."""
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: state[name] for name in state if name in trained}


def main(base: str, rows: str, output_dir: str, epochs: int = 2) -> None:
    """Tune and save."""
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
    trainer = lightning.Trainer(
        max_epochs=epochs, default_root_dir=output_dir, logger=False, devices=1
    )
    trainer.fit(Tuning(model), batches)
    adept_llm.save_adapter(model, output_dir)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", metavar="BASE", help="folder or name of the frozen model")
    parser.add_argument("rows", metavar="ROWS.jsonl", help="rows to train on")
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="folder of the adapter")
    main(**vars(parser.parse_args()))
