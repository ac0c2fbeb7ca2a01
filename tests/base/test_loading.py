"""The frozen base: in its stored type, or in 4 and 8 bits; refused before weights are read."""

import json
import shutil
from fnmatch import fnmatch
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from adept_llm import AdeptConfig, InputError, get_adapter, inject_adapter
from adept_llm.adapters.frozen_table import root_mean_square, whole
from adept_llm.base.loading import (
    base_folder,
    check_context,
    load_config,
    load_model,
    load_tokenizer,
    pick_dtype,
)
from adept_llm.base.quantization import check_quantization
from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples
from adept_llm.packing import make_batcher
from tests.builders import loss_and_gradients, make_examples, small_model

EXAMPLES = make_examples([(9, 2), (5, 3), (12, 1)])


def adapted(quantization, dtype="float32"):
    model = load_model(str(MODEL), None, dtype, quantization)
    model = inject_adapter(model, AdeptConfig("adept", 4, 3))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in get_adapter(model).trained_parameters().values():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return model.train()


def measured(model):
    return loss_and_gradients(model, make_batcher(model, "padded"), EXAMPLES)


def dequantized(model):
    """The same base as a dense model."""
    from bitsandbytes import functional, nn

    dense = adapted("none")
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear4bit):
            weight = functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            dense.get_submodule(name).weight.data = weight.float()
    return dense


def relative(found, reference):
    return (found - reference).norm() / reference.norm()


def test_nf4_computes_with_the_dequantised_weights():
    """To fp32 rounding, and after a forward pass without gradients too.

    That pass breaks later gradients where CPUs have AVX512-BF16, unless it is prevented.
    """
    model = adapted("nf4")
    loss, gradients = measured(dequantized(model))
    model.eval()
    with torch.no_grad():
        model(input_ids=torch.tensor([[5, 6, 7]]))
    model.train()
    found, found_gradients = measured(model)
    assert found == pytest.approx(loss, rel=1e-5)
    for name, gradient in gradients.items():
        assert relative(found_gradients[name], gradient) < 1e-4, name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantization, most", [("nf4", 0.1), ("int8", 0.02)])
def test_quantised_loss_is_near_the_dense_one(quantization, most, dtype):
    loss, _ = measured(adapted("none", dtype))
    found, _ = measured(adapted(quantization, dtype))
    assert found == pytest.approx(loss, rel=most) and found != loss


@pytest.mark.parametrize("quantization, share", [("nf4", 0.16), ("int8", 0.27)])
def test_quantised_layers_take_the_bytes_they_should(quantization, share):
    """Half a byte or one byte for each weight of the linear layers, and the scales."""
    dense, small = (load_model(str(MODEL), None, "float32", q) for q in ("none", quantization))

    def size(model):
        return sum(
            p.numel() * p.element_size() for n, p in model.named_parameters() if "_proj" in n
        )

    assert size(small) < share * size(dense)
    # everything else keeps its type and values: nothing is upcast, the table is whole
    assert torch.equal(small.get_input_embeddings().weight, dense.get_input_embeddings().weight)
    half = load_model(str(MODEL), None, "bfloat16", quantization)
    assert half.get_input_embeddings().weight.dtype == torch.bfloat16
    assert half.model.norm.weight.dtype == torch.bfloat16


def test_gradient_checkpointing_changes_nothing():
    for quantization in ("none", "nf4"):
        model = adapted(quantization)
        loss, gradients = measured(model)
        for reentrant in (False, True):
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            again, again_gradients = measured(model)
            assert again == pytest.approx(loss, rel=1e-6)
            for name, gradient in gradients.items():
                assert relative(again_gradients[name], gradient) < 1e-5, (quantization, name)


@pytest.mark.parametrize(
    "quantization, config, stage, said",
    [
        ("int8", {}, 3, "--quantization nf4"),
        ("nf5", {}, 0, "known: none, nf4, int8"),
        ("nf4", {"quantization_config": {}}, 0, "stored quantised already"),
    ],
)
def test_what_cannot_work_is_refused(quantization, config, stage, said):
    with pytest.raises(InputError, match=said):
        check_quantization(quantization, SimpleNamespace(**config), torch.float32, stage)


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        check_quantization("nf4", SimpleNamespace(), torch.float32)


def test_refusal_comes_before_weights(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("adept_llm.cli.train.load_model", lambda *a: pytest.fail("weights read"))
    monkeypatch.setattr("adept_llm.cli.train.train_source", lambda *a: pytest.fail("data read"))
    monkeypatch.setattr("adept_llm.cli.train.join_ranks", lambda *given: True)
    monkeypatch.setattr("adept_llm.training.arguments.is_initialized", lambda: True)
    monkeypatch.setenv("RANK", "0")
    argv = ["--model_name_or_path", MODEL, "--train_file", "none.jsonl", "--output_dir", tmp_path]
    argv += ["--quantization", "int8", "--deepspeed", "ds_configs/zero3.json", "--use_cpu", "true"]
    assert main(["train", *map(str, argv)]) == 2
    assert "int8 weights stay whole" in capsys.readouterr().err


def test_float16_is_never_picked_by_itself():
    config = load_config(str(MODEL))
    config.dtype = torch.float16
    assert pick_dtype("auto", config) in (torch.float32, torch.bfloat16)
    assert pick_dtype("float16", config) == torch.float16
    config.dtype = torch.bfloat16
    assert pick_dtype("auto", config) == torch.bfloat16


def test_a_context_may_be_filled_to_the_last_token():
    context = SimpleNamespace(max_position_embeddings=128)
    check_context(context, 28, 100)
    with pytest.raises(InputError, match="28 virtual tokens and 101 .* of 128; .* 100 or less"):
        check_context(context, 28, 101)
    check_context(SimpleNamespace(), 28, 10_000)  # no limit is known


def test_one_revision_is_asked_for_configuration_weights_and_tokenizer(monkeypatch):
    """Or the base would be another one than run.json says."""
    asked = []
    for name in ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"):
        kind = getattr(transformers, name)

        def load(path, *args, name=name, read=kind.from_pretrained, revision=None, **options):
            if revision:
                asked.append((name, path, revision))
            return read(path, *args, **options)

        monkeypatch.setattr(kind, "from_pretrained", load)
    load_model(str(MODEL), "0123abc", "float32")
    load_tokenizer(str(MODEL), "4567def")
    assert asked == [
        ("AutoConfig", str(MODEL), "0123abc"),
        ("AutoModelForCausalLM", str(MODEL), "0123abc"),
        ("AutoTokenizer", str(MODEL), "4567def"),
    ]


def test_a_base_of_the_hub_comes_with_its_terms(tmp_path, monkeypatch):
    """A merged folder has to carry them, under whatever ending."""
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download",
        lambda name, **options: asked.extend(options["allow_patterns"]) or tmp_path,
    )
    assert base_folder("user/base") == tmp_path
    for name in ("LICENSE", "NOTICE.txt", "USE_POLICY.md", "tokenizer.model"):
        assert any(fnmatch(name, pattern) for pattern in asked), name


def test_rms_of_a_table_does_not_depend_on_the_slabs():
    table = torch.randn(9000, 7, generator=torch.Generator().manual_seed(0))
    assert root_mean_square(table) == pytest.approx(table.double().square().mean().sqrt().item())
    with whole(table) as weight:
        assert torch.equal(weight, table)


def test_a_model_tuned_in_4_bits_is_evaluated_in_4_bits(tmp_path, capsys, monkeypatch):
    rows = "".join(json.dumps(row) + "\n" for row in examples(0, 16, "train"))
    (tmp_path / "train.jsonl").write_text(rows)
    out = tmp_path / "out"
    argv = [
        "--model_name_or_path", MODEL, "--train_file", tmp_path / "train.jsonl", "--max_steps", 1,
        "--use_cpu", "true", "--report_to", "none", "--quantization", "nf4", "--output_dir", out,
        "--max_length", 64, "--disable_tqdm", "true",
    ]  # fmt: skip
    assert main(["train", *map(str, argv)]) == 0
    used = []
    monkeypatch.setattr(
        "adept_llm.tuned.load_model", lambda *given: used.append(given) or load_model(*given)
    )
    argv = ["--adapter", out, "--file", tmp_path / "train.jsonl", "--max_samples", 4]
    assert main(["evaluate", *map(str, argv)]) == 0
    assert used[0][-1] == "nf4" and "accuracy" in capsys.readouterr().out


@pytest.fixture
def base(tmp_path):
    """A copy of the demo's base, and what changes its config.json or its tensors."""
    folder = tmp_path / "base"
    shutil.copytree(MODEL, folder)

    def change(config=None, keep=lambda name: True):
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(content | (config or {})))
        tensors = load_file(folder / "model.safetensors")
        kept = {name: value for name, value in tensors.items() if keep(name)}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        return str(folder)

    return change


def said_of(name_or_path, *how):
    with pytest.raises(InputError) as caught:
        load_model(name_or_path, *how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_a_base_without_all_its_weights_is_refused(base, quantization):
    """transformers puts random ones in their place."""
    name = base(keep=lambda name: ".layers.1." not in name)
    line = said_of(name, None, "float32", quantization)
    assert "9 of the model's" in line and "model.layers.1.input_layernorm.weight, " in line
    name = base(keep=lambda name: ".layers.1." not in name and "embed" not in name)
    assert "11 of the model's" in said_of(name, None, "float32", quantization)


def test_a_head_that_is_tied_and_buffers_may_be_missing(base, tmp_path):
    small_model("llama-tied").save_pretrained(tmp_path / "tied")
    assert "lm_head.weight" not in load_file(tmp_path / "tied" / "model.safetensors")
    tied = load_model(str(tmp_path / "tied"))
    assert tied.lm_head.weight is tied.get_input_embeddings().weight
    name = base({"tie_word_embeddings": True}, keep=lambda name: "lm_head" not in name)
    assert load_model(name)
    name = base({"tie_word_embeddings": False})
    assert "1 of the model's" in said_of(name) and "lm_head.weight" in said_of(name)


def test_a_base_that_is_stored_in_4_bits_is_whole(tmp_path):
    load_model(str(MODEL), None, "float32", "nf4").save_pretrained(tmp_path)
    assert load_model(str(tmp_path)).is_quantized


def test_weights_of_another_shape_are_named(base):
    line = said_of(base({"intermediate_size": 500}))
    assert "model.layers.0.mlp.down_proj.weight is stored as [128, 256]" in line
    assert "config.json makes it [128, 500]" in line


@pytest.mark.parametrize("content", [b"hello", b"", None])
def test_damaged_weights_are_told_in_a_line(base, content):
    name = base()
    path = f"{name}/model.safetensors"
    with open(path, "rb") as file:
        content = file.read()[:-100] if content is None else content
    with open(path, "wb") as file:
        file.write(content)
    assert name in said_of(name)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"hidden_size": "x"}, "field 'hidden_size': .*'x'"),
        ({"num_attention_heads": 7}, "not a multiple of the number of attention heads"),
        ({"hidden_act": "nope"}, "'nope' is not known"),
        ({"rope_parameters": {"rope_type": "nope", "rope_theta": 1e4}}, "'nope' is not known"),
        ({"dtype": "nope"}, "config.json: .*'nope'"),
        ({"model_type": ["llama"]}, "names no model_type"),
        ({"hidden_size": -8}, "-8"),
    ],
)
def test_a_config_json_that_cannot_be_is_told_in_a_line(base, config, said):
    name = base(config)
    with pytest.raises(InputError, match=said) as caught:
        load_model(name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_memory_that_runs_out_is_no_fault_of_the_base(monkeypatch):
    """It is told by another line, with what helps (training.out_of_memory)."""

    def full(*given, **options):
        raise error

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", full)
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
        torch.AcceleratorError("CUDA error: out of memory"),
    ):
        with pytest.raises(type(error)) as caught:
            load_model(str(MODEL))
        assert caught.value is error


def test_a_dtype_is_a_name_or_torchs(base):
    for given in ("bfloat16", torch.bfloat16):
        assert load_model(str(MODEL), dtype=given).dtype == torch.bfloat16
    for given in ("fp16", torch.int8):
        assert "choose one of auto, float32" in said_of(str(MODEL), None, given)
