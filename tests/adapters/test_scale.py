"""One learning rate fits tables of any scale: the adapter trains alike on E and on c E."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from adept_llm import get_adapter, inject_adapter
from adept_llm.adapters import METHODS
from tests.builders import CONFIGS, VOCAB, small_model

SCALE = 37.0


class Divided(nn.Embedding):
    """A layer that undoes a table's scale behind it, as Gemma's multiplies."""

    embed_scale = 1 / SCALE

    def forward(self, ids):
        return super().forward(ids) * self.embed_scale


def losses(model, method):
    """Ten steps of AdamW on fixed tokens."""
    config = CONFIGS[method]
    if METHODS[method].prompt.takes_rows:
        config = replace(config, prompt_init="normal")
    adapter = get_adapter(inject_adapter(model, config))
    model.train()
    trained = [p for p in adapter.trained_parameters().values() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.1)
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(3, VOCAB, (8, 9), generator=generator)
    prefix = torch.tensor(adapter.virtual_token_ids).expand(8, -1)
    found = []
    for _ in range(10):
        logits = model(torch.cat([prefix, words], 1)).logits[:, 5:-1]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("method", METHODS)
def test_losses_do_not_depend_on_the_tables_scale(method):
    plain = small_model("llama")
    scaled = copy.deepcopy(plain)
    layer = Divided(VOCAB, plain.config.hidden_size)
    layer.weight = nn.Parameter(plain.get_input_embeddings().weight.detach() * SCALE)
    scaled.set_input_embeddings(layer)
    expected = losses(plain, method)
    assert expected[-1] < 0.9 * expected[0]
    assert losses(scaled, method) == pytest.approx(expected, rel=1e-3)
