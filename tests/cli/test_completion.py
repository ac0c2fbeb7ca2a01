"""The Tab key, as bash presses it."""

import shutil
import subprocess

import pytest

from adept_llm.cli.completion import script
from adept_llm.cli.main import COMMANDS

ASK = """
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_shtab_adept_llm; printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "adept-llm.bash"
    path.write_text(script("bash") + ASK)
    return path


def press(file, *words, cwd=None):
    command = ["bash", str(file), "adept-llm", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert not done.stderr
    return set(done.stdout.split())


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tr"], {"train"}),
        (["train", "--num"], {"--num_virtual_tokens", "--num_train_epochs"}),
        (["train", "--method", "adept_"], {"adept_linear", "adept_gated"}),
        (["train", "run.yaml", "--lr_scheduler_type", "con"], {"constant_with_warmup"}),
        (["train", "--reference", "w1", "a", "--see"], {"--seed"}),
        (["evaluate", "--task", "sst"], {"sst2"}),
        (["tasks", "boo"], {"boolq"}),
        (["completion", ""], {"bash", "zsh"}),
    ],
)
def test_bash_offers(file, words, offered):
    assert press(file, *words) == offered


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_bash_offers_files_and_folders(file, tmp_path):
    (tmp_path / "mine.jsonl").write_text("")
    (tmp_path / "mine").mkdir()
    assert press(file, "train", "--train_file", "mi", cwd=tmp_path) == {"mine", "mine.jsonl"}
    assert press(file, "train", "mine.j", cwd=tmp_path) == {"mine.jsonl"}
    assert press(file, "merge", "--adapter", "mi", cwd=tmp_path) == {"mine"}


def test_zsh_gets_all_commands():
    """Whether zsh is there or not: what it would be told."""
    told = script("zsh")
    assert told.startswith("#compdef adept-llm")
    for name in COMMANDS:
        assert f"    {name}:'" in told
