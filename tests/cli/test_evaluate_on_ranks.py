"""evaluate under a launcher: the ranks share the rows, one tells, the files are the same."""

import json
import os
import subprocess
import sys

import pytest
from transformers import AutoModelForCausalLM

from adept_llm import AdeptConfig, inject_adapter, save_adapter
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples


@pytest.mark.parametrize("launcher", ["torch.distributed.run", "deepspeed.launcher.runner"])
def test_two_ranks_tell_once_what_one_process_does(tmp_path, launcher):
    model = inject_adapter(AutoModelForCausalLM.from_pretrained(MODEL), AdeptConfig("adept", 5, 3))
    save_adapter(model, tmp_path / "adapter")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in examples(0, 21, "train")))
    two = {
        "torch.distributed.run": ["-m", launcher, "--standalone", "--nproc_per_node", "2", "-m"],
        "deepspeed.launcher.runner": ["-m", launcher, "--num_gpus", "2", "--module"],
    }[launcher]
    if "deepspeed" in launcher:
        pytest.importorskip("deepspeed")
    told = []
    for name, words in (("one", ["-m"]), ("two", two)):
        out = tmp_path / name
        out.mkdir()
        done = subprocess.run(
            [
                sys.executable, *words, "adept_llm.cli.main", "evaluate",
                "--adapter", str(tmp_path / "adapter"), "--model_name_or_path", str(MODEL),
                "--file", str(rows), "--batch_size", "4", "--predictions_file",
                str(out / "said.jsonl"), "--output_file", str(out / "metrics.json"),
            ],
            capture_output=True, text=True, timeout=300, check=True,
            env={**os.environ, "DS_ACCELERATOR": "cpu"},
        )  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if line.startswith("accuracy")]
        told.append((lines, *(path.read_text() for path in sorted(out.iterdir()))))
    assert told[0] == told[1] and len(told[0][0]) == 1
