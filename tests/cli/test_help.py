"""The pages of --help: as the arguments are, quick, and all of them."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from transformers import TrainingArguments

from adept_llm.adapters import AdeptConfig
from adept_llm.cli.layouts import LAYOUTS, TRAIN
from adept_llm.cli.main import COMMANDS, main, page
from adept_llm.cli.train import KINDS
from adept_llm.cli.write_help import parser_of
from adept_llm.training.arguments import IGNORED_BY_US, AdeptTrainingArguments

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_is_that_of_the_arguments(command):
    """A new argument, or another default, is not in the file until it is written anew."""
    written = page(command).read_text("utf-8")
    assert written == parser_of(command).format_help(), "run python -m adept_llm.cli.write_help"
    assert "example" in written and max(map(len, written.splitlines())) <= 100


def test_pages_are_short():
    assert len(page("train").read_text("utf-8").splitlines()) <= 80


def test_help_needs_no_torch():
    """It is what takes 6 seconds."""
    asks = [f"main([{name!r}, '--help'])" for name in COMMANDS]
    code = "; ".join(
        [
            "import sys; from adept_llm.cli.main import main",
            *asks,
            "main(['files']); main(['completion', 'bash'])",
            "assert not {'torch', 'transformers'} & set(sys.modules)",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: adept-llm") >= len(COMMANDS)


def test_help_wins_wherever_it_stands(capsys):
    assert main(["train", "run.yaml", "--steps", "3", "--help"]) == 0
    assert capsys.readouterr().out == page("train").read_text("utf-8")


def test_each_argument_of_ours_has_its_place():
    """One that is forgotten would stand among Trainer's."""
    grouped = [name for names in TRAIN.groups.values() for name in names]
    places = [*grouped, *TRAIN.rare, *TRAIN.refused]
    assert len(places) == len(set(places))
    theirs = {one.name: one for one in fields(TrainingArguments)}
    ours = {
        one.name
        for kind in KINDS
        for one in fields(kind)
        if kind is not AdeptTrainingArguments or one.metadata != theirs.get(one.name, one).metadata
    }
    new = {one.name for one in fields(AdeptTrainingArguments)} - theirs.keys()
    assert ours | new <= set(places)
    assert {one.name for one in fields(AdeptConfig)} <= set(places)


def test_what_is_refused_is_not_shown():
    others = ("average_tokens_across_devices", "remove_unused_columns", "auto_find_batch_size")
    known = {*IGNORED_BY_US, *others}
    assert set(TRAIN.refused) == known


def test_layouts_name_what_there_is(capsys):
    """A text for an argument that is gone is never seen."""
    with pytest.raises(SystemExit):
        main(["train", "--help_all"])
    whole = capsys.readouterr().out
    for name in [*TRAIN.texts, *TRAIN.short, *TRAIN.rare]:
        assert f"  --{name} " in whole + page("train").read_text("utf-8"), name
    for name in ("adam_beta1", "weight_decay", "neftune_noise_alpha", "length_bucket"):
        assert f"  --{name} " in whole and f"  --{name} " not in page("train").read_text("utf-8")
    assert "  --fsdp " not in whole
    for name, layout in LAYOUTS.items():
        for group in layout.groups.values():
            for argument in group:
                assert f"  --{argument} " in page(name).read_text("utf-8"), (name, argument)


@pytest.mark.parametrize(("word", "meant"), [("trian", "train"), ("evalute", "evaluate")])
def test_a_command_that_is_misspelt(capsys, word, meant):
    assert main([word]) == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err
