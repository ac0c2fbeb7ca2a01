"""The memory that recipes tell in their comments is what `estimate` says of them."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from adept_llm.cli.main import main

RECIPES = Path(__file__).parents[2] / "recipes"


def totals(capsys, words):
    """(base, gradient checkpointing) -> total, as printed."""
    assert main(["estimate", *map(str, words)]) == 0
    cells = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    return {(row[0], row[1]): row[-1] for row in cells if row[-1].endswith("GiB") and len(row) == 6}


@pytest.mark.parametrize("name", ["llama2_7b_nf4", "llama2_13b_nf4"])
def test_the_sizes_of_small_gpus(name, capsys):
    """A user picks the batch by them; they were those of an older estimate."""
    text = (RECIPES / f"{name}.yaml").read_text()
    given = yaml.safe_load(text)
    lines = re.findall(r"per_device_train_batch_size (\d+), +accumulation (\d+) +(.* GiB)", text)
    assert len(lines) == 2
    for batch, accumulation, told in lines:
        assert int(batch) * int(accumulation) == 32
        words = [
            "--model_name_or_path", given["model_name_or_path"], "--num_tokens",
            given["max_length"], "--per_device_train_batch_size", batch,
        ]  # fmt: skip
        assert totals(capsys, words)["nf4", "yes"] == told


def test_the_yardstick(capsys):
    """By the command in the comment, whose sizes are the recipe's own."""
    text = (RECIPES / "metamathqa.yaml").read_text()
    told = re.search(r"so: (.* GiB), and with --gradient_checkpointing true (.* GiB)", text)
    command = re.search(r"adept-llm estimate ((?:.*\\\n)*.*)", text)
    words = shlex.split(re.sub(r"\\\n#", " ", command[1]))
    found = totals(capsys, words)
    assert (found["bfloat16", "no"], found["bfloat16", "yes"]) == told.groups()
    recipe = yaml.safe_load(text)
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert given.pop("--num_tokens") == str(recipe["max_length"])
    assert given == {name: str(recipe[name.removeprefix("--")]) for name in given}
