"""A step that does not fit ends in one line, whose numbers are those of `estimate`."""

import pytest
import torch

from adept_llm import AdeptConfig, InputError
from adept_llm.base.memory import estimate, gib
from adept_llm.base.shapes import known_shape
from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.out_of_memory import explained


def seven(batch, checkpoints):
    config = known_shape("meta-llama/Llama-2-7b-hf")
    return estimate(
        config, AdeptConfig(), torch.bfloat16, "none", batch, 64, "shared_prefix", checkpoints
    )


def arguments(**changes):
    return AdeptTrainingArguments(output_dir="unused", report_to="none", **changes)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at x] . DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_the_line_keeps_the_global_batch_and_has_numbers(error):
    args = arguments(per_device_train_batch_size=9, gradient_accumulation_steps=2)
    with pytest.raises(InputError) as told, explained(args, seven):
        raise error
    assert str(told.value) == (
        f"memory: full at a micro-batch of 9, of an estimated {gib(seven(9, False).total)}; give "
        "--per_device_train_batch_size 3 --gradient_accumulation_steps 6, the same global batch "
        f"(estimated {gib(seven(3, False).total)}), or --gradient_checkpointing true (estimated "
        f"{gib(seven(9, True).total)}), or --quantization nf4"
    )


def test_what_cannot_be_lowered_is_not_advised():
    args = arguments(per_device_train_batch_size=1, gradient_checkpointing=True)
    with pytest.raises(InputError, match="full at a micro-batch of 1; give --quantization nf4$"):
        with explained(args, lambda *_: None):
            raise MemoryError


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="^shapes$"), explained(arguments(), seven):
        raise RuntimeError("shapes")


def test_a_run_ends_with_it(tmp_path, monkeypatch, capsys):
    def full(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("adept_llm.training.trainer.token_losses", full)
    rows = tmp_path / "rows.csv"
    rows.write_text("prompt,completion\n" + "say it,now\nsay more,then\n" * 4)
    code = main([
        "train", "--model_name_or_path", str(MODEL), "--train_file", str(rows), "--use_cpu", "true",
        "--output_dir", str(tmp_path / "out"), "--max_steps", "2", "--report_to", "none",
    ])  # fmt: skip
    err = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and err.startswith("error: memory: full at a micro-batch of 32")
    assert "--per_device_train_batch_size 16 --gradient_accumulation_steps 2" in err
