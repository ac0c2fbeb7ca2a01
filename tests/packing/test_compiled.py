"""Compiled layers: the same loss and gradients, and one compilation for all layers and rows."""

import pytest
import torch

from adept_llm import InputError
from adept_llm.compat.transformers import register_attention
from adept_llm.packing import make_batcher
from adept_llm.packing.attention import ATTENTION, shared_prefix_attention
from adept_llm.packing.compiled import check_compiler, compile_layers, not_compiled
from tests.builders import PACKED, adapted, loss_and_gradients, make_examples

ROWS = [make_examples(lengths) for lengths in ([(3, 2), (9, 1)], [(5, 2), (4, 4), (7, 3)])]


class Counting:
    """A backend that runs graphs as they are, and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    yield
    register_attention(ATTENTION, shared_prefix_attention)
    torch.compiler.reset()


@pytest.mark.parametrize("packing", ["shared_prefix", "padded"])
@pytest.mark.parametrize("name", PACKED)
def test_losses_and_gradients_are_those_of_the_layers_as_they_are(name, packing):
    model = adapted(name).train()
    batcher = make_batcher(model, packing)
    expected = [loss_and_gradients(model, batcher, rows) for rows in ROWS]
    compile_layers(model, Counting())
    for (loss, gradients), rows in zip(expected, ROWS, strict=True):
        found, others = loss_and_gradients(model, batcher, rows)
        assert found == pytest.approx(loss, rel=1e-5)
        for key, gradient in gradients.items():
            torch.testing.assert_close(others[key], gradient, rtol=1e-4, atol=1e-6)


def test_inductor_makes_the_same(tmp_path, monkeypatch):
    """What the other tests' backend leaves out: code that a compiler made."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model = adapted("llama-grouped").train()
    batcher = make_batcher(model)
    loss, gradients = loss_and_gradients(model, batcher, ROWS[0])
    compile_layers(model)
    found, others = loss_and_gradients(model, batcher, ROWS[0])
    assert found == pytest.approx(loss, rel=1e-5)
    for key, gradient in gradients.items():
        torch.testing.assert_close(others[key], gradient, rtol=1e-4, atol=1e-6)


def test_one_compilation_serves_all_layers_and_lengths():
    """One of its own for each layer or row would take longer than it saves."""
    counts = []
    for layers in (1, 2):
        torch.compiler.reset()
        model, backend = adapted("llama-grouped").train(), Counting()
        model.model.layers = model.model.layers[:layers]
        batcher = make_batcher(model)
        compile_layers(model, backend)
        for lengths in ([(3, 2), (9, 1)], [(4, 2)], [(6, 1), (2, 2), (8, 5)], [(11, 2)] * 4):
            loss_and_gradients(model, batcher, make_examples(lengths))
            counts.append(backend.graphs)
    assert counts[0] > 0 and len(set(counts)) == 1


def test_another_model_does_not_bring_attention_back_into_the_graphs():
    """It is registered for all models alike; traced, it would be compiled anew for each row."""
    model, backend = adapted("llama-grouped").train(), Counting()
    batcher = make_batcher(model)
    compile_layers(model, backend)
    make_batcher(adapted("llama"))
    for lengths in ([(3, 2), (9, 1)], [(4, 2)], [(6, 1), (2, 2), (8, 5)]):
        loss_and_gradients(model, batcher, make_examples(lengths))
    few = Counting()
    again = adapted("llama-grouped").train()
    torch.compiler.reset()
    compile_layers(again, few)
    loss_and_gradients(again, make_batcher(again), ROWS[0])
    assert backend.graphs == few.graphs


def test_parameters_keep_their_names():
    """Else adapters and checkpoints of compiled runs could not be read by others."""
    model = adapted("llama")
    names = list(model.state_dict())
    compile_layers(model, Counting())
    assert list(model.state_dict()) == names


def test_generation_runs_the_layers_as_they_are():
    model, backend = adapted("llama").eval(), Counting()
    ids = torch.tensor([[5, 6, 7]])
    expected = model.generate(ids, max_new_tokens=4, do_sample=False)
    compile_layers(model, backend)
    with not_compiled():
        assert model.generate(ids, max_new_tokens=4, do_sample=False).equal(expected)
    assert backend.graphs == 0


def test_a_model_without_known_layers_is_refused():
    model = adapted("llama")
    model.model.layers = torch.nn.ModuleList()
    with pytest.raises(InputError, match="torch_compile: llama has no layers known here"):
        compile_layers(model)


def test_a_missing_compiler_is_told_before_the_first_step(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"torch_compile: needs g\+\+"):
        check_compiler("cpu", "inductor")
    check_compiler("cuda", "inductor")
    check_compiler("cpu", "aot_eager")
