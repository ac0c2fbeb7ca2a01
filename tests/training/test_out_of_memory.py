"""A step that does not fit ends in one line, whose numbers are those of `estimate`."""

import re

import pytest
import torch

from adept_llm import AdeptConfig, InputError
from adept_llm.base.memory import estimate, gib
from adept_llm.base.shapes import known_shape
from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.out_of_memory import advice, explained


def seven(most, checkpoints):
    return estimate(
        known_shape("meta-llama/Llama-2-7b-hf"), AdeptConfig(), torch.bfloat16, "none", 32, 64,
        "shared_prefix", checkpoints, most=most,
    )  # fmt: skip


def arguments(**changes):
    return AdeptTrainingArguments(output_dir="unused", report_to="none", **changes)


def explained_by(args, estimated, largest, longest):
    return explained(lambda: advice(args, estimated, largest, longest))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at x] . DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_the_line_keeps_the_batch_and_has_numbers(error):
    with pytest.raises(InputError) as told, explained_by(arguments(), seven, 1900, 124):
        raise error
    assert str(told.value) == (
        "memory: full; the run computes up to 1,900 tokens at a time, an estimated "
        f"{gib(seven(1900, False).total)}; give --tokens_per_batch 950, which changes no loss "
        f"(estimated {gib(seven(950, False).total)}), or --gradient_checkpointing true (estimated "
        f"{gib(seven(1900, True).total)}), or --quantization nf4"
    )


def test_no_bound_is_advised_that_a_row_would_exceed():
    with pytest.raises(InputError, match="give --tokens_per_batch 124, which"):
        with explained_by(arguments(), seven, 200, 124):
            raise MemoryError


def test_what_cannot_be_lowered_is_not_advised():
    args = arguments(gradient_checkpointing=True)
    with pytest.raises(InputError, match="up to 124 tokens at a time; give --quantization nf4$"):
        with explained_by(args, lambda *_: None, 124, 124):
            raise MemoryError


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="^shapes$"):
        with explained_by(arguments(), seven, 2, 1):
            raise RuntimeError("shapes")


@pytest.mark.parametrize("packing", ["shared_prefix", "padded"])
def test_a_run_ends_with_it(tmp_path, monkeypatch, capsys, packing):
    """Its advice is what the rows need: taken, the pieces are no larger."""
    seen = []

    def full(model, inputs, labels):
        seen.append(inputs["input_ids"].numel())
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("adept_llm.training.trainer.token_losses", full)
    rows = tmp_path / "rows.csv"
    rows.write_text("prompt,completion\n" + "say it,now\nsay more,then\n" * 4)
    argv = [
        "train", "--model_name_or_path", str(MODEL), "--train_file", str(rows), "--use_cpu", "true",
        "--output_dir", str(tmp_path / "out"), "--max_steps", "2", "--report_to", "none",
        "--packing", packing, "--num_virtual_tokens", "3",
    ]  # fmt: skip
    assert main(argv) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: memory: full; the run computes up to {seen[0]:,} tokens")
    (advised,) = re.findall(r"--tokens_per_batch (\d+), which", line)
    assert int(advised) == seen[0] // 2
    assert main([*argv, "--tokens_per_batch", advised]) == 2
    assert 0 < seen[1] <= int(advised)
    assert f"computes up to {seen[1]:,} tokens" in capsys.readouterr().err
