"""What a DeepSpeed configuration must and must not say."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from adept_llm.base.sharding import Sharding
from adept_llm.errors import InputError
from adept_llm.training.deepspeed_config import check_deepspeed, read_deepspeed, zero_stage

SHIPPED = sorted((Path(__file__).parents[2] / "ds_configs").glob("*.json"))
GOOD = {"gradient_clipping": "auto", "zero_optimization": {"stage": 2}}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_pass(path):
    config = check_deepspeed(str(path))
    assert config == json.loads(path.read_text()) and zero_stage(config) in (2, 3)


def test_there_are_shipped_configurations():
    assert len(SHIPPED) >= 4


def test_a_configuration_is_a_file_json_or_content(tmp_path):
    (tmp_path / "zero.json").write_text(json.dumps(GOOD))
    forms = (str(tmp_path / "zero.json"), json.dumps(GOOD), " " + json.dumps(GOOD), GOOD)
    assert all(read_deepspeed(form) == check_deepspeed(form) == GOOD for form in forms)


@pytest.mark.parametrize(("content", "stage"), [({}, 0), ({"zero_optimization": {}}, 0), (GOOD, 2)])
def test_zero_stage(content, stage):
    assert zero_stage(content) == stage


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "zero.json: No such file or directory; `adept-llm files`"),
        ("{", "zero.json is not JSON"),
        ("[]", "zero.json is not a JSON object"),
    ],
)
def test_what_is_no_configuration_is_named(tmp_path, text, said):
    if text is not None:
        (tmp_path / "zero.json").write_text(text)
    with pytest.raises(InputError, match=f"^deepspeed: .*{said}"):
        read_deepspeed(str(tmp_path / "zero.json"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"bf16": True}, '"bf16" is true; write an object'),
        ({"fp16": None}, '"fp16" is null; write an object'),
        *(
            ({"zero_optimization": value}, f'"zero_optimization" is {told}; write an object')
            for value, told in ((True, "true"), (None, "null"))
        ),
        *(
            ({"zero_optimization": {name: value}}, f'"{name}" is {told}; write {wanted}')
            for name, value, told, wanted in (
                ("offload_param", None, "null", "an object"),
                ("offload_param", "cpu", '"cpu"', "an object"),
                ("offload_optimizer", None, "null", "an object"),
                ("stage", "auto", '"auto"', "a whole number"),
                ("stage", True, "true", "a whole number"),
                ("stage", 2.5, "2.5", "a whole number"),
                ("zero_hpz_partition_size", "auto", '"auto"', "a whole number"),
                ("stage3_max_live_parameters", "all", '"all"', "a whole number"),
            )
        ),
        ({"zero_optimization": {"offload_param": {"nvme_path": 1}}}, '"nvme_path" is 1; write a'),
    ],
)
@pytest.mark.parametrize("given", [dict, json.dumps])
def test_entries_of_another_type_are_named(content, said, given):
    """They would end in a traceback where they are read: by train, estimate or doctor."""
    with pytest.raises(InputError, match=f"^deepspeed: the configuration: {re.escape(said)}"):
        read_deepspeed(given({**GOOD, **content}))


def test_the_file_of_such_an_entry_is_named(tmp_path):
    (tmp_path / "zero.json").write_text('{"fp16": null}')
    with pytest.raises(InputError, match='/zero.json: "fp16" is null'):
        read_deepspeed(str(tmp_path / "zero.json"))


def test_the_number_of_live_parameters_may_be_left_to_trainer():
    for live in ("auto", 1e9, 10**9):
        content = {"zero_optimization": {"stage": 3, "stage3_max_live_parameters": live}}
        assert Sharding.of(read_deepspeed(content), 2).most_live == 10**9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimizer": {}}, "has 'optimizer'.*leave it out"),
        ({"scheduler": {}}, "has 'scheduler'.*leave it out"),
        ({"gradient_clipping": 1.0}, 'write "gradient_clipping": "auto"'),
        ({"train_batch_size": 8}, 'write "train_batch_size": "auto"'),
        ({"train_micro_batch_size_per_gpu": 8}, 'write "train_micro_batch_size_per_gpu": "auto"'),
        ({"gradient_accumulation_steps": 2}, 'write "gradient_accumulation_steps": "auto"'),
        ({"zero_optimization": {"offload_optimizer": {}}}, "offload_optimizer.*leave it out"),
        ({"bf16": {"enabled": True}}, "--dtype bfloat16"),
        ({"fp16": {"enabled": True}}, "--dtype bfloat16"),
    ],
)
def test_entries_that_would_change_the_run_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        check_deepspeed({**GOOD, **change})


def test_clipping_must_be_written_the_rest_may_be_left_out():
    """DeepSpeed's own default clips at 1.0; its other defaults Trainer fills."""
    with pytest.raises(InputError, match="gradient_clipping"):
        check_deepspeed({})
    every = dict.fromkeys(("train_batch_size", "gradient_accumulation_steps"), "auto")
    assert check_deepspeed({**GOOD, **every, "bf16": {"enabled": "auto"}, "fp16": {}})


def test_mixed_precision_is_refused():
    with pytest.raises(InputError, match="--dtype bfloat16"):
        check_deepspeed(GOOD, mixed_precision=True)


def test_a_missing_deepspeed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        check_deepspeed(GOOD)
