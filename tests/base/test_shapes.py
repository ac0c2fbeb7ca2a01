"""Built-in shapes have the parameters that the hub counts for those models."""

import pytest
import torch

from adept_llm.base.memory import meta_model
from adept_llm.base.shapes import SHAPES, known_shape

# safetensors' total of each model's page; Llama-2's from its paper's checkpoints
PARAMETERS = {
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-2-13b-hf": 13_015_864_320,
    "meta-llama/Llama-2-70b-hf": 68_976_648_192,
    "meta-llama/Meta-Llama-3-8B": 8_030_261_248,
    "meta-llama/Meta-Llama-3-70B": 70_553_706_496,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "google/gemma-2-2b": 2_614_341_888,
    "google/gemma-3-270m": 268_098_176,
}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_of_the_real_model(name):
    model = meta_model(known_shape(name), torch.bfloat16)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


def test_other_names_are_not_known():
    assert known_shape("meta-llama/Llama-2-7b") is None
