"""Starts, dropout and positions of the embedding layers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from adept_llm import AdeptConfig, get_adapter, inject_adapter
from adept_llm.adapters.config import BaseTable
from adept_llm.adapters.layer import AdeptEmbedding
from tests.adapters.test_adapters import METHODS, adapted, prefixed
from tests.builders import WIDTH, small_model


@pytest.mark.parametrize("method", ["adept", "dept"])
def test_words_start_where_the_table_has_them(method):
    """Training starts from the prompt alone: no offset, in training or after."""
    model = inject_adapter(small_model("llama"), METHODS[method])
    for training in (True, False):
        model.train(training)
        ids, seen = prefixed(model), []
        with get_adapter(model).register_forward_hook(lambda *call: seen.append(call[-1])):  # noqa: B023
            model(ids)
        assert torch.allclose(seen[0][:, 4:], get_adapter(model).weight[ids[:, 4:]], atol=1e-6)


def test_w1_fills_its_bound():
    """U(-1/sqrt(d), 1/sqrt(d)), as kaiming_uniform(a=sqrt(5)) on a [r, d] Linear."""
    w1 = get_adapter(inject_adapter(small_model("llama"), AdeptConfig("adept", 4, 64))).w1
    bound = WIDTH**-0.5
    assert 0.99 * bound < w1.max() <= bound and -bound <= w1.min() < -0.99 * bound
    assert w1.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_dropout_is_on_in_training_alone():
    dropped = AdeptConfig("adept", 4, 3, bottleneck_dropout=0.5)
    model = inject_adapter(small_model("llama"), dropped)
    adapter, ids = get_adapter(model), prefixed(model)
    with torch.no_grad():
        adapter.w2.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model.train()
    assert not torch.equal(adapter(ids), adapter(ids))
    model.eval()
    answer = adapter(ids)
    adapter.config = replace(dropped, bottleneck_dropout=0.0)
    assert torch.equal(adapter(ids), answer)


def embedded(model, ids, **options):
    """What the model's layer gives for these ids, and the model's output."""
    seen = []
    with get_adapter(model).register_forward_hook(lambda *call: seen.append(call[-1])):
        out = model(ids, **options)
    return seen[0], out


@pytest.mark.parametrize("pads", [None, 0, 3])
def test_dept_finds_positions_without_position_ids(pads):
    """From the mask, or without one from the columns; in a prefill and behind a cache."""
    model = adapted(method="dept")
    ids = prefixed(model, length=7)
    expected, _ = embedded(model, ids, position_ids=torch.arange(11)[None])
    assert not torch.equal(expected[:, 5], get_adapter(model).weight[ids[:, 5]])
    ids = torch.cat([torch.zeros(2, pads or 0, dtype=torch.long), ids], 1)
    mask = None if pads is None else (torch.arange(11 + pads) >= pads).long().expand(2, -1)

    def upto(end):
        return {} if mask is None else {"attention_mask": mask[:, :end]}

    found, _ = embedded(model, ids, **upto(ids.shape[1]))
    assert torch.equal(found[:, pads or 0 :], expected)
    half = 6 + (pads or 0)
    _, out = embedded(model, ids[:, :half], use_cache=True, **upto(half))
    found, _ = embedded(
        model, ids[:, half:], past_key_values=out.past_key_values, **upto(ids.shape[1])
    )
    assert torch.equal(found, expected[:, 6:])


@pytest.mark.parametrize(("m", "r"), [(20, 39), (40, 29), (60, 19), (80, 9)])
def test_parameter_budget_of_the_paper(m, r):
    """Each of the papers' sizes trains no more than 100 rows of prompt; Llama-2 7B has d = 4096."""
    d = 4096
    adapter = AdeptEmbedding(nn.Embedding(2, d), AdeptConfig("adept", m, r), BaseTable(2, d, 1.0))
    count = sum(p.numel() for p in adapter.trained_parameters().values())
    assert count <= 100 * d + r
    assert (m, r) != (60, 19) or count == 405_523
