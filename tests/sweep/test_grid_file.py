"""A line of a grid file reaches its task as it was meant, or says why it does not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adept_llm.errors import InputError
from adept_llm.sweep.grid_file import line_of, task_of

ROOT = Path(__file__).parents[2]
GRID = """\
# rates
--learning_rate 0.1 # the default

   \t
low --learning_rate 0.03 --prompt_init_text 'a # b' C#
"""


@pytest.fixture
def grid(tmp_path):
    """A file as people write them."""
    path = tmp_path / "grid.txt"
    path.write_text(GRID)
    return path


def test_comments_and_empty_lines_are_no_tasks(grid):
    """A comment ran in a folder '#', an empty line was none; a comment at the end was arguments."""
    assert task_of(grid, 0) == ("0", ["--learning_rate", "0.1"])
    assert task_of(grid, 1) == (
        "low", ["--learning_rate", "0.03", "--prompt_init_text", "a # b", "C#"]
    )  # fmt: skip


@pytest.mark.parametrize(
    "text, said",
    [
        ("--a 1\n", r"grid\.txt: has 1 tasks, and none 1 \(counted from 0\)"),
        ("--a 1\n\n--b 'x\n", r"grid\.txt:3: a quotation is not closed"),
        ("--a 1\nmy.yaml --b 1\n", r"grid\.txt:2: begins with my\.yaml, where a folder's name"),
    ],
)
def test_what_cannot_be_used_is_told_by_its_line(grid, text, said):
    grid.write_text(text)
    with pytest.raises(InputError, match=said):
        task_of(grid, 1)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])), max_size=4))
def test_what_a_sweep_writes_comes_back(tmp_path_factory, words):
    """Whatever an argument holds but a line break."""
    path = tmp_path_factory.getbasetemp() / "written.txt"
    path.write_text(line_of("rate=1", words), "utf-8")
    assert task_of(path, 0) == ("rate=1", words)


@pytest.mark.parametrize(
    "task, told",
    [
        ("0", "out/0 base.yaml --learning_rate 0.1"),
        ("1", "out/low base.yaml --learning_rate 0.03 --prompt_init_text a # b C#"),
        ("2", "error: grid.txt: has 2 tasks, and none 2 (counted from 0)"),
    ],
)
def test_the_job_script_hands_them_on(grid, task, told):
    """To the script that trains, which is a stand-in here; no Slurm is needed."""
    folder = grid.parent
    shutil.copytree(ROOT / "slurm", folder / "slurm")
    (folder / "slurm" / "train.sbatch").write_text('echo "$@"\n')
    variables = {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    variables |= {"SLURM_ARRAY_TASK_ID": task, "SLURM_JOB_ID": "1"}
    done = subprocess.run(
        ["bash", "slurm/sweep.sbatch", "out", "grid.txt", "base.yaml"], cwd=folder,
        env=os.environ | variables, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.stdout + done.stderr).strip() == told
    assert done.returncode == (2 if told.startswith("error") else 0)
