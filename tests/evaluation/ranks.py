"""What one rank of several measures of a small model, as JSON; `python -m tests.evaluation.ranks`.

Started by torchrun, or alone.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, AutoTokenizer

from adept_llm import AdeptConfig, get_adapter, inject_adapter
from adept_llm.data import Encoder, Example
from adept_llm.demo import MODEL
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.evaluation.measure import measure_answers
from adept_llm.evaluation.token_loss import TokenLoss
from adept_llm.packing import make_batcher

LABELS = ("no", "yes")


def main(folder: Path) -> None:
    """Measure labels, free text and loss; how many forward passes each rank made."""
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    rank = dist.get_rank() if dist.is_initialized() else 0
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    model = inject_adapter(model, AdeptConfig("adept", 5, 3))
    with torch.no_grad():
        get_adapter(model).offset.w2.normal_(0, 0.2, generator=torch.Generator().manual_seed(0))
    encoder = Encoder(AutoTokenizer.from_pretrained(MODEL), "plain", 64)
    # 9 batches of 2 and one of 1 are 5 for each of two ranks; 3 batches of 7 are not even
    texts = [("word " * (1 + n % 5), f"{n}", LABELS[n % 2]) for n in range(19)]
    labelled = [Example("Fits?", t, a, id=i, labels=LABELS) for t, i, a in texts]
    free = [Example("Say it", t, a, id=i) for t, i, a in texts]
    passes: list[int] = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    batcher, found = make_batcher(model), {}
    for size in (2, 7):
        answers = measure_answers(encoder, free, batch_size=size)
        found[f"labels {size}"] = AnswerMeasure.of(encoder, labelled, batch_size=size)(
            model, batcher
        )
        found[f"free text {size}"] = answers(model, batcher)
        found[f"answers {size}"] = [one.text for one in answers.predict(model, batcher)]
        found[f"loss {size}"] = TokenLoss.of(encoder, free, size)(model, batcher)
    found["passes"] = sum(length > 1 for length in passes)  # prefills, not steps of decoding
    (folder / f"{rank}.json").write_text(json.dumps(found))
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
