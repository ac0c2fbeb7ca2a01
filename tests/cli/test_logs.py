"""What a run writes where no terminal is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adept_llm import __version__
from adept_llm.demo import MODEL

ROOT = Path(__file__).parents[2]


def run(*argv):
    command = [sys.executable, "-m", "adept_llm.cli.main", *map(str, argv)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # as a file has it: text mode would turn \r into a line break
    done = subprocess.run(command, capture_output=True, env=environment, cwd=ROOT)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("disable", ["true", "false"])
def test_a_piped_run_writes_lines_and_no_bars(tmp_path, disable):
    """A bar in a file is one line of thousands of characters; silence tells nothing either."""
    path = tmp_path / "train.jsonl"
    rows = [{"prompt": f"{n} is", "completion": f"number {n}"} for n in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = run(
        "train", "--model_name_or_path", MODEL, "--train_file", path, "--max_steps", 3,
        "--output_dir", tmp_path / "out", "--report_to", "none", "--use_cpu", "true",
        "--save_strategy", "no", "--disable_tqdm", disable, "--max_length", 64,
    )  # fmt: skip
    assert code == 0, err
    assert "\r" not in out + err
    assert "step 3 of 3: loss " in out and "offset_lr" in out
    assert "0.00 B" not in out and "frozen parameters" in out


def test_version():
    code, out, _ = run("--version")
    assert (code, out) == (0, f"adept_llm {__version__}\n")
