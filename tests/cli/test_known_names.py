"""Names that no argument has are told at once, and no name is refused that a parser takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from adept_llm import InputError
from adept_llm.cli.known_names import NAMES, TAKES_FILES, check_names
from adept_llm.cli.layouts import LAYOUTS
from adept_llm.cli.main import COMMANDS, main
from adept_llm.cli.write_help import HANDS_ON, names_of, parser_of

ROOT = Path(__file__).parents[2]
KNOWN = json.loads(NAMES.read_text("utf-8"))


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in HANDS_ON])
def test_the_names_are_those_of_the_parser(command):
    """Else the file refuses what the parser takes, or lets pass what it refuses only later."""
    parser = parser_of(command)
    assert KNOWN[command] == names_of(parser), "run python -m adept_llm.cli.write_help"
    check_names(command, parser.names())  # with hyphens too


def test_no_other_command_is_checked():
    assert KNOWN.keys() == COMMANDS.keys() - {"sweep"}
    check_names("sweep", ["--what_a_run_may_know", "1"])


def test_files_are_read_where_a_command_takes_them():
    usages = {name: layout.usage for name, layout in LAYOUTS.items()}
    assert {name for name in usages if "[FILE.yaml" in usages[name]} == set(TAKES_FILES)


@pytest.mark.parametrize(
    "words",
    [
        ["--max_steps=3", "--learning-rate", "-1", "--deepspeed.a.b=2", "--local_rank=0"],
        ["--prompt_init_text", "--dashes and a space"],
        ["--train_file", "--", "--behind_it_are_values"],
        ["--deepspeed.zero_optimization.stage", "2"],
    ],
)
def test_what_a_parser_may_take_is_let_pass(words):
    check_names("train", words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--max_stepz=3"], "--max_stepz is unknown; did you mean --max_steps?"),
        (["--learning-rat", "1"], "--learning-rat is unknown; did you mean --learning_rate?"),
        (["--deepsped.a", "1"], "--deepsped is unknown; did you mean --deepspeed?"),
    ],
)
def test_what_none_takes_is_refused(words, told):
    with pytest.raises(InputError) as error:
        check_names("train", ["--seed", "1", *words])
    assert str(error.value) == f"arguments: {told}"


def test_names_of_files_are_checked(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("max-steps: 3\nseed: 1\ndeepspeed.a.b: 2\n")
    check_names("train", [str(good)])
    bad.write_text("seed: 1\nmax_stepz: 3\nsed: 2\n")
    with pytest.raises(InputError) as error:
        check_names("train", [str(good), str(bad)])
    told = "arguments: --max_stepz is unknown; did you mean --max_steps?"
    assert str(error.value) == f"{bad}: {told}"


def test_it_waits_for_no_library():
    """They are what takes seconds."""
    code = (
        "import sys; from adept_llm.cli.main import main;"
        "codes = [main(['train', '--sed', '1']), main(['report', 'x', '--outptu', 'x.md'])];"
        "assert codes == [2, 2], codes; assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "error: arguments: --sed is unknown; did you mean --seed?",
        "error: arguments: --outptu is unknown; did you mean --output?",
    ]


def test_a_command_of_plain_arguments_tells_the_nearest_too(capsys):
    assert main(["report", "runs", "--outptu", "x.md"]) == 2
    assert "did you mean --output?" in capsys.readouterr().err


def test_what_deepspeed_puts_in_front_is_not_the_users(capsys):
    """Its launcher tells each rank its number, whatever the command."""
    assert main(["--local_rank=0", "evaluate", "--adapter", "none", "--nonsense", "1"]) == 2
    assert "--nonsense is unknown" in capsys.readouterr().err
