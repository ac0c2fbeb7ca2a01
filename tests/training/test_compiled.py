"""--torch_compile compiles the layers of a run and nothing else; its losses are the same."""

import pytest
import torch

from adept_llm import InputError
from adept_llm.compat.transformers import register_attention
from adept_llm.packing.attention import ATTENTION, shared_prefix_attention
from adept_llm.training.arguments import AdeptTrainingArguments
from tests.training.runs import losses_of, trainer_of

COMPILED = {"torch_compile": True, "torch_compile_backend": "eager"}


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    yield
    register_attention(ATTENTION, shared_prefix_attention)
    torch.compiler.reset()


@pytest.mark.parametrize("more", [{}, {"gradient_checkpointing": True}, {"tokens_per_batch": 40}])
def test_a_run_has_the_losses_of_layers_as_they_are(tmp_path, more):
    common = {"max_steps": 3, "save_strategy": "no", **more}
    expected = losses_of(tmp_path / "a", **common)
    found = losses_of(tmp_path / "b", **common, **COMPILED)
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_whole_model_is_not_compiled(tmp_path):
    """Under Trainer's own plugin each packed row would be compiled anew."""
    trainer = trainer_of(tmp_path, **COMPILED)
    assert trainer.accelerator.state.dynamo_plugin.backend.value == "NO"
    assert trainer.args.torch_compile_backend == "eager"


def test_what_is_measured_is_not_compiled(tmp_path):
    """Generation and scoring have shapes and caches of their own, each a compilation."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def measure(model, batcher):
        torch.compile(torch.square, backend=backend)(torch.ones(2))
        return {"accuracy": 0.5}

    trainer = trainer_of(
        tmp_path, measure, metric_for_best_model="accuracy", max_steps=2, eval_strategy="steps",
        eval_steps=1, **COMPILED
    )  # fmt: skip
    trainer.train()
    assert not graphs
    measure(None, None)
    assert graphs


def test_compiling_is_refused_under_deepspeed(tmp_path):
    with pytest.raises(InputError, match="torch_compile: layers whose weights DeepSpeed gathers"):
        AdeptTrainingArguments(output_dir=str(tmp_path), deepspeed="{}", **COMPILED)
