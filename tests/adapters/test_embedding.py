"""The embedding layer in a model: its start, dropout, positions and number of parameters."""

import pytest
import torch
from torch import nn

from adept_llm import AdeptConfig, get_adapter, inject_adapter
from adept_llm.adapters import METHODS, AdeptEmbedding, BaseTable
from tests.builders import CONFIGS, adapted, embedded, prefixed, small_model


@pytest.mark.parametrize("method", METHODS)
def test_words_start_where_the_table_has_them(method):
    """Training starts from the prompt alone: no offset, in training or after."""
    model = inject_adapter(small_model("llama"), CONFIGS[method])
    for training in (True, False):
        ids = prefixed(model)
        rows, _ = embedded(model.train(training), ids)
        assert torch.allclose(rows[:, 5:], get_adapter(model).weight[ids[:, 5:]], atol=1e-6)


def test_dropout_is_on_in_training_alone():
    dropped = AdeptConfig("adept", 4, 3, bottleneck_dropout=0.5)
    model = inject_adapter(small_model("llama"), dropped)
    adapter, ids = get_adapter(model), prefixed(model)
    with torch.no_grad():
        adapter.offset.w2.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model.train()
    assert not torch.equal(adapter(ids), adapter(ids))
    model.eval()
    answer = adapter(ids)
    adapter.offset.dropout = 0.0
    assert torch.equal(adapter(ids), answer)


@pytest.mark.parametrize("pads", [None, 0, 3])
def test_dept_finds_positions_without_position_ids(pads):
    """From the mask, or without one from the columns; in a prefill and behind a cache."""
    model = adapted(method="dept")
    ids = prefixed(model, length=7)
    expected, _ = embedded(model, ids, position_ids=torch.arange(12)[None])
    assert not torch.equal(expected[:, 6], get_adapter(model).weight[ids[:, 6]])
    ids = torch.cat([torch.zeros(2, pads or 0, dtype=torch.long), ids], 1)
    mask = None if pads is None else (torch.arange(12 + pads) >= pads).long().expand(2, -1)

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


def test_dept_reads_a_mask_and_positions_that_are_given_by_place():
    """They were passed over, and each word behind padding had another's offset."""
    model = adapted(method="dept")
    ids = prefixed(model)
    ids = torch.cat([torch.zeros(2, 3, dtype=torch.long), ids], 1)
    mask = (torch.arange(ids.shape[1]) >= 3).long().expand(2, -1)
    expected = model(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(model(ids, mask).logits, expected)
    positions = (mask.cumsum(-1) - 1).clamp(min=0) + 2
    expected = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    assert torch.equal(model(ids, mask, positions).logits, expected)


@pytest.mark.parametrize(("m", "r"), [(20, 39), (40, 29), (60, 19), (80, 9)])
def test_parameter_budget_of_the_paper(m, r):
    """Each of the papers' sizes trains no more than 100 rows of prompt; Llama-2 7B has d = 4096."""
    d = 4096
    adapter = AdeptEmbedding(nn.Embedding(2, d), AdeptConfig("adept", m, r), BaseTable(2, d, 1.0))
    count = sum(p.numel() for p in adapter.trained_parameters().values())
    assert count <= 100 * d + r
    assert (m, r) != (60, 19) or count == 405_523
