"""--reference: each name gives the value of the authors' code, and reaches the run."""

import json
import math
from argparse import Namespace

import pytest
import torch

from adept_llm import AdeptConfig, InputError
from adept_llm.adapters import METHODS, read_adapter
from adept_llm.base.loading import load_model, load_tokenizer
from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples
from adept_llm.training.reference import DEFAULTS, DIFFERENCES, ReferenceArguments, adopt
from tests.training.runs import trainer_of

TEXT = "Classify this text is postive or not:"
PLAIN = {"units": "plain"}
SCHEDULE = {"warmup_steps": 500, "adam_epsilon": 1e-6}
TEXT_START = {"prompt_init": "text", "prompt_init_text": TEXT}
# read in the authors' repositories, not taken from the module; r = 19
OWN = {"superpos", "adept_linear", "adept_gated"}  # no code of the authors is known
ALL = {
    "adept": {
        "offset_init": "by_rank", "bottleneck_dropout": 0.1, **TEXT_START, **PLAIN, **SCHEDULE,
    },
    "dept": {
        "offset_init": "by_rank", "offset_scale": 8 / math.sqrt(19), **TEXT_START, **PLAIN,
        **SCHEDULE,
    },
    "prompt_tuning": {**TEXT_START, **PLAIN, **SCHEDULE},
    "embedding_lora": PLAIN,
    "dpt": PLAIN,
    "ulpt": {**PLAIN, **SCHEDULE},
}  # fmt: skip
ONE = {
    "w1": ("adept", {"offset_init": "by_rank"}),
    "a": ("dept", {"offset_init": "by_rank"}),
    "scale": ("dept", {"offset_scale": 8 / math.sqrt(19)}),
    "dropout": ("adept", {"bottleneck_dropout": 0.1}),
    "text": ("dept", TEXT_START),
    "normal": ("adept", {"prompt_init": "standard_normal"}),
    "units": ("ulpt", PLAIN),
    "warmup": ("adept", {"warmup_steps": 500}),
    "epsilon": ("prompt_tuning", {"adam_epsilon": 1e-6}),
}


def adopted(method, names, **given):
    """What a run's arguments are changed to."""
    start = {**DEFAULTS, "method": method, "max_steps": 500, **given}
    found = Namespace(**start, reference=names)
    adopt(found)
    return {n: v for n, v in vars(found).items() if n != "reference" and v != start[n]}


def test_every_difference_is_tested():
    assert ONE.keys() == DIFFERENCES.keys() and ALL.keys() == METHODS.keys() - OWN


@pytest.mark.parametrize("name", ONE)
def test_a_name_changes_its_own_arguments_alone(name):
    method, expected = ONE[name]
    assert adopted(method, [name]) == expected


@pytest.mark.parametrize("method", ALL)
def test_all_is_what_the_authors_code_does_untold(method):
    assert adopted(method, ["all"]) == ALL[method]
    assert adopted(method, []) == {}


def test_the_scale_follows_the_rank():
    assert adopted("dept", ["scale"], bottleneck_size=16)["offset_scale"] == 2.0


def test_names_of_another_method_are_refused_alone_and_skipped_in_all():
    with pytest.raises(InputError, match="dept has no difference 'w1'; it has a, scale, text"):
        adopted("dept", ["a", "w1"])
    for names in (["units"], ["all"]):
        with pytest.raises(InputError, match="superpos has no known difference; leave it out"):
            adopted("superpos", names)
    assert adopted("superpos", []) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["w2"], "'w2' is unknown; give all, or some of w1, a, scale"),
        (["all", "w1"], "'all' stands alone"),
    ],
)
def test_wrong_names(given, said):
    with pytest.raises(InputError, match=said):
        ReferenceArguments(given)


def test_an_argument_that_says_otherwise_is_refused():
    said = "dropout stands for --bottleneck_dropout 0.1, but 0.3 is given; leave it out"
    with pytest.raises(InputError, match=said):
        adopted("adept", ["all"], bottleneck_dropout=0.3)
    assert "bottleneck_dropout" not in adopted("adept", ["all"], bottleneck_dropout=0.1)
    with pytest.raises(InputError, match="normal stands for --prompt_init standard_normal"):
        adopted("adept", ["text", "normal"])


@pytest.mark.parametrize("names", [["warmup", "dropout"], ["all"]])
def test_a_run_shorter_than_the_warmup_says_what_to_do(names):
    with pytest.raises(InputError, match=r"500 steps, this run has 499.*--max_steps.*dropout"):
        adopted("adept", names, max_steps=499)
    assert adopted("adept", names, max_steps=500)["warmup_steps"] == 500
    assert adopted("adept", names, max_steps=-1)["warmup_steps"] == 500  # not known yet
    with pytest.raises(InputError, match="this run has 60; .*leave out --reference"):
        ReferenceArguments(["warmup"]).check_length("adept", 60)
    ReferenceArguments(["dropout"]).check_length("adept", 60)


def test_the_rate_rises_over_500_steps_and_epsilon_reaches_adam(tmp_path):
    settings = adopted("prompt_tuning", ["warmup", "epsilon"])
    trainer = trainer_of(
        tmp_path, config=AdeptConfig("prompt_tuning", 4), max_steps=1000, **settings
    )
    trainer.create_optimizer_and_scheduler(1000)
    factor = trainer.lr_scheduler.lr_lambdas[0]
    assert [factor(step) for step in (249, 499)] == pytest.approx([0.5, 1.0])
    assert factor(500) < 1.0 and factor(498) < 1.0
    assert {group["eps"] for group in trainer.optimizer.param_groups} == {1e-6}


@pytest.fixture
def argv(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in examples(0, 16, "train")))
    words = [
        "train", "--model_name_or_path", MODEL, "--train_file", path, "--max_length", "64",
        "--num_virtual_tokens", "4", "--output_dir", tmp_path / "out", "--report_to", "none",
        "--save_strategy", "no", "--use_cpu", "true", "--disable_tqdm", "true",
    ]  # fmt: skip
    return [str(word) for word in words]


def test_a_run_from_the_command_line_keeps_what_it_adopted(argv, tmp_path):
    names = ["a", "scale", "text", "units"]
    more = ["--method", "dept", "--max_steps", "1", "--learning_rate", "0"]
    assert main([*argv, *more, "--offset_learning_rate", "0", "--reference", *names]) == 0
    config, _, tensors = read_adapter(tmp_path / "out")
    assert (config.units, config.offset_init) == ("plain", "by_rank")
    assert config.offset_scale == 8 / math.sqrt(19)
    # nothing was learnt: these are the initial values
    assert tensors["offset.a"].abs().max() <= 19**-0.5
    ids = load_tokenizer(str(MODEL))(TEXT, add_special_tokens=False).input_ids[:4]
    table = load_model(str(MODEL)).get_input_embeddings().weight
    assert torch.allclose(tensors["prompt.weight"], table[ids].float(), atol=1e-6)


def test_epochs_too_short_for_the_warmup_are_refused_before_the_weights(argv, tmp_path, capsys):
    rates = ["--learning_rate", "0.3", "--offset_learning_rate", "1e-4"]
    assert main([*argv, *rates, "--num_train_epochs", "2", "--reference", "all"]) == 2
    line = next(x for x in capsys.readouterr().err.splitlines() if x.startswith("error: "))
    assert "this run has 2; train for more" in line
    assert "--reference w1 dropout text units epsilon" in line
    assert not (tmp_path / "out").exists()


def test_plain_units_have_no_default_rates(argv, tmp_path, capsys):
    """Ours are in units of the table's rms, and would be far too high."""
    assert main([*argv, "--reference", "units"]) == 2
    assert "learning_rate: plain units have no default; give" in capsys.readouterr().err
    assert main([*argv, "--reference", "units", "--learning_rate", "0.1"]) == 2
    assert "offset_learning_rate: plain units have no default" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
