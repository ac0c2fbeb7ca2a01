"""Arguments of a run: each that cannot work, or would have no effect, is refused by name."""

import pytest

from adept_llm.errors import InputError
from adept_llm.tasks import get_task
from adept_llm.training.arguments import AdeptTrainingArguments, DataArguments, ModelArguments

BEST = {"load_best_model_at_end": True, "eval_strategy": "steps", "save_strategy": "steps"}


def training(folder, **changes):
    given = {"output_dir": str(folder), "report_to": "none", "use_cpu": True}
    return AdeptTrainingArguments(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"packing": "both"}, "packing: 'both' is unknown; known: shared_prefix, padded"),
        ({"learning_rate": -1.0}, "learning_rate: -1.0 is not a rate"),
        ({"learning_rate": float("nan")}, "learning_rate: nan is not a rate"),
        ({"offset_learning_rate": -0.1}, "offset_learning_rate: -0.1 is not a rate"),
        ({"offset_learning_rate": float("nan")}, "offset_learning_rate: nan is not a rate"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size: must be at least 1"),
        ({"per_device_eval_batch_size": 0}, "per_device_eval_batch_size: must be at least 1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: must be at least 1"),
        ({"learning_rate": float("inf")}, "learning_rate: inf is not a rate"),
        ({"offset_learning_rate": float("inf")}, "offset_learning_rate: inf is not a rate"),
        ({"num_train_epochs": 0}, "num_train_epochs: 0 trains nothing"),
        ({"num_train_epochs": float("nan")}, "num_train_epochs: nan trains nothing"),
        ({"warmup_steps": 5, "max_steps": 4}, "warmup_steps: 5 of 4 steps would never end"),
        ({"warmup_steps": float("nan")}, "warmup_steps: nan is none"),
        ({"output_dir": None}, "output_dir: give a folder"),
        ({"output_dir": ""}, "output_dir: give a folder"),
        (
            {"overwrite_output_dir": True, "resume_from_checkpoint": "auto"},
            "overwrite_output_dir: throws away what --resume_from_checkpoint goes on from",
        ),
        ({"max_steps": 0}, "max_steps: 0 is none"),
        ({"seed": -1}, "seed: -1 is none; give 0 to 4294967295"),
        ({"seed": 2**32}, "seed: 4294967296 is none"),
        ({"data_seed": -1}, "data_seed: -1 is none"),
        ({"data_seed": 99999999999999}, "data_seed: 99999999999999 is none"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor: has no effect here"),
        ({"dataloader_drop_last": True}, "dataloader_drop_last: has no effect here"),
        ({"train_sampling_strategy": "sequential"}, "train_sampling_strategy: has no effect here"),
        ({"save_only_model": True}, "save_only_model: has no effect here"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size: would change the global batch"),
        ({"use_liger_kernel": True}, "use_liger_kernel: pip install liger-kernel"),
        ({"fsdp": "full_shard"}, "fsdp: has no effect here"),
        ({"average_tokens_across_devices": False}, "average_tokens_across_devices: is always on"),
        ({"save_strategy": "best"}, "save_strategy: 'best' is .* --load_best_model_at_end true"),
        ({"load_best_model_at_end": True}, "load_best_model_at_end: needs --eval_strategy"),
        ({"early_stopping_patience": 1}, "early_stopping_patience: needs --load_best_model_at_end"),
        ({**BEST, "early_stopping_patience": 0}, "early_stopping_patience: must be at least 1"),
        ({"deepspeed": "{"}, "deepspeed: .* is not JSON"),
        ({"deepspeed": '{"gradient_clipping": "auto"}', "bf16": True}, "--dtype bfloat16"),
        ({"deepspeed": '{"gradient_clipping": "auto"}', "fp16": True}, "--dtype bfloat16"),
        ({"deepspeed": '{"a": 1, "a": 2}'}, "deepspeed: .*'a' is given twice"),
        *(
            (
                {"deepspeed": '{"gradient_clipping": "auto"}', "optim": optim},
                f"optim: the state of {optim} cannot be saved under DeepSpeed; give --optim adamw",
            )
            for optim in ("adafactor", "adamw_bnb_8bit", "paged_adamw_32bit", "sgd")
        ),
    ],
)
def test_training_arguments_that_cannot_work(tmp_path, changes, said):
    with pytest.raises(InputError, match=f"^(?:bf16, fp16: .*)?{said}"):
        training(tmp_path, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.0, "offset_learning_rate": 0.0},
        {"packing": "padded"},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1},
        {"per_device_eval_batch_size": 1},
        {"max_steps": 1, "seed": 0},
        {"max_steps": -1},
        {"seed": 2**32 - 1, "data_seed": 2**32 - 1},
        {"max_steps": 4, "warmup_steps": 4},
        {"num_train_epochs": 0.5},
        {"average_tokens_across_devices": True},
        {**BEST, "early_stopping_patience": 1},
    ],
)
def test_training_arguments_at_the_edge_of_what_works(tmp_path, changes):
    args = training(tmp_path, **changes)
    assert all(getattr(args, name) == value for name, value in changes.items())


def test_defaults_are_those_of_the_readme(tmp_path):
    args = training(tmp_path)
    assert (args.learning_rate, args.offset_learning_rate) == (0.1, 0.003)
    assert (args.per_device_train_batch_size, args.packing) == (32, "shared_prefix")
    assert (args.warmup_steps, args.logging_steps, args.optim) == (0.06, 1, "adamw_torch_fused")
    assert not args.remove_unused_columns  # Trainer would drop the columns that it does not know


def test_one_process_uses_one_gpu(tmp_path, monkeypatch):
    """Trainer would multiply the batch by the GPUs, and cut packed rows by nn.DataParallel."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    args = training(tmp_path, use_cpu=False, per_device_train_batch_size=8)
    assert (args.n_gpu, args.train_batch_size) == (1, 8)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give either --task or --train_file"),
        ({"task": "sst2", "train_file": "a.jsonl"}, "give either --task or --train_file"),
        ({"train_file": "a.jsonl", "data_dir": "d"}, "data_dir: goes with --task"),
        ({"task": "sst2", "validation_file": "b"}, "validation_file: goes with --train_file"),
        ({"train_file": "a.jsonl", "k_shot": 4}, "k_shot: goes with --task"),
        ({"task": "sst2", "k_shot": 0}, "k_shot: 0 rows are none"),
        ({"task": "sst2", "max_train_samples": 0}, "max_train_samples: 0 rows are none"),
        ({"task": "sst2", "max_validation_samples": -1}, "max_validation_samples: -1 rows"),
        ({"task": "sst3"}, "unknown task 'sst3'.*sst2"),
    ],
)
def test_data_arguments_that_cannot_work(given, said):
    with pytest.raises(InputError, match=said):
        DataArguments(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"task": "sst2", "data_dir": "d", "k_shot": 1, "max_train_samples": 1},
        {"train_file": "a.jsonl", "validation_file": "b.jsonl", "max_validation_samples": 1},
    ],
)
def test_data_arguments_that_work(given):
    args = DataArguments(**given)
    assert all(getattr(args, name) == value for name, value in given.items())


def test_the_length_is_the_tasks_own_unless_it_is_given():
    assert get_task("boolq").max_length != get_task("sst2").max_length
    for name in ("boolq", "sst2"):
        assert DataArguments(task=name).max_length == get_task(name).max_length
    assert DataArguments(train_file="a.jsonl").max_length == 256
    assert DataArguments(task="boolq", max_length=17).max_length == 17


def test_the_base_is_not_quantised_and_keeps_its_dtype_unless_asked():
    args = ModelArguments("model")
    assert (args.dtype, args.quantization, args.model_revision) == ("auto", "none", None)
