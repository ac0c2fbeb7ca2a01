"""Each piece runs on the CPU as it would on a GPU, with a tiny Llama; or says what it lacks."""

import pytest

from benchmarks.gpu.__main__ import one
from benchmarks.gpu.pieces import PIECES
from benchmarks.gpu.setting import Setting, layer_parameters
from tests.builders import small_model

CUDA = {"kernel-flash", "kernel-varlen", "kernel-merged"}


@pytest.mark.parametrize("name", [piece.name for piece in PIECES])
def test_a_rehearsal(name):
    found = one(name, Setting.of("tiny", True))
    if name in CUDA:
        assert found == {"skipped": "needs CUDA"}
    elif name.startswith("kernel"):
        assert found["right"], found["errors"]
    elif name.startswith("memory"):
        assert [row["learnt"] for row in found["steps"]] == [2, 2, 2, 2, 2, 23]
    elif name != "matmul":
        part = 4 * layer_parameters(Setting.of("tiny", True).config) * found["tokens_per_second"]
        assert found["teraflops"] == pytest.approx(part / 1e12, rel=0.01)


def test_the_weights_that_each_token_passes():
    """Seven matrices a layer; neither the table nor the head."""
    config = small_model("llama-grouped").config
    width, inner, head = config.hidden_size, config.intermediate_size, config.head_dim
    q, kv = config.num_attention_heads * head, config.num_key_value_heads * head
    layer = 2 * width * q + 2 * width * kv + 3 * width * inner
    assert layer_parameters(config) == config.num_hidden_layers * layer
