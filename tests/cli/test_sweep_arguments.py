"""What a sweep refuses before its first run."""

import pytest

from adept_llm.cli.main import main
from adept_llm.cli.sweep import read_plan
from adept_llm.cli.sweep_arguments import check_arguments, metrics_of
from adept_llm.demo import MODEL
from adept_llm.training.arguments import DataArguments


def test_settings_are_checked_before_a_run_is_started(capsys, tmp_path, yes_no_rows):
    """All of them, in this process: a mistake in the last one would show after hours."""
    file = tmp_path / "plan.yaml"
    file.write_text(
        f"output_dir: {tmp_path}/out\nsearch: {{prompt_init: [vocab, wrong]}}\n"
        f"arguments: {{model_name_or_path: {MODEL}, train_file: {yes_no_rows}/train.jsonl}}\n"
    )
    assert main(["sweep", str(file)]) == 2
    assert "prompt_init" in capsys.readouterr().err and not (tmp_path / "out").exists()
    plan = file.read_text().replace("vocab, wrong", "vocab")
    file.write_text(f"{plan}final: {{do_predict: true}}\n")  # of own rows without --test_file
    assert main(["sweep", str(file)]) == 2
    assert "give --test_file" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert main(["sweep", str(file), "--parallel", "0"]) == 2
    capsys.readouterr()
    assert main(["sweep"]) == 2
    assert (
        capsys.readouterr().err == "error: arguments: the following arguments are required: FILE\n"
    )


REFUSED = [  # lines of a plan's file, and what is said of them
    ("strategy: random\nmax_settings: 2\nsearch: {lerning_rate: {low: 0.1, high: 1}}", "lerning_"),
    ("search: {learning_rate: [0.1, 0.3]}\nrungs: [1, 3]", "warmup_steps: 2 of 1 steps would"),
    ("search: {learning_rate: [0.1, 0.3]}\nfinal: {max_steps: 1}", "warmup_steps: 2 of 1 steps"),
    (
        "search: {learning_rate: [0.1, 0.3]}\nmetric: acuracy",
        "'acuracy' is not measured",
    ),
]


@pytest.mark.parametrize("lines, said", REFUSED, ids=[said[:9] for _, said in REFUSED])
def test_what_a_whole_stage_would_be_computed_for_in_vain(
    lines, said, capsys, tmp_path, yes_no_rows
):
    """Refused before a run is started: names of ranges, rungs, and what the search chooses by."""
    file = tmp_path / "plan.yaml"
    arguments = (
        f"model_name_or_path: {MODEL}, train_file: {yes_no_rows}/train.jsonl, warmup_steps: 2"
    )
    file.write_text(f"{lines}\noutput_dir: {tmp_path}/out\narguments: {{{arguments}}}\n")
    words = ["sweep", str(file), "--validation_file", f"{yes_no_rows}/validation.jsonl"]
    assert main(words) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_search_without_validation_rows_is_refused(capsys, tmp_path, yes_no_rows):
    """One setting alone needs none: nothing is chosen."""
    file = tmp_path / "plan.yaml"
    arguments = (
        f"arguments: {{model_name_or_path: {MODEL}, train_file: {yes_no_rows}/train.jsonl}}\n"
    )
    file.write_text(f"output_dir: out\nsearch: {{learning_rate: [0.1, 0.3]}}\n{arguments}")
    assert main(["sweep", str(file)]) == 2
    assert "validation_file: the search chooses by loss on it" in capsys.readouterr().err
    file.write_text(f"output_dir: out\nsearch: {{learning_rate: [0.1]}}\n{arguments}")
    assert check_arguments(read_plan(file, str(tmp_path / "out"), []))


def test_the_known_metrics_of_a_task_are_its_own():
    """Of one whose programs may not be run it is the loss alone."""
    assert metrics_of(DataArguments(task="mrpc")) == ("loss", "f1", "accuracy")
    assert metrics_of(DataArguments(task="mbpp")) == ("loss",)
    assert metrics_of(DataArguments(task="mbpp", allow_code_execution=True)) == ("loss", "pass@1")
