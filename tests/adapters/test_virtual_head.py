"""The head's row for virtual tokens: shortest, and below all words."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from transformers import AutoModelForCausalLM, AutoTokenizer

from adept_llm import AdeptConfig, get_adapter, inject_adapter, merge_adapter
from adept_llm.adapters.virtual_head import (
    MARGIN,
    TEMPERATURE,
    VirtualRow,
    _said,
    shortest_below,
    virtual_row,
)
from adept_llm.demo import MODEL


def states(count, width, seed, shift=1.0):
    noise = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return noise + shift


@pytest.mark.parametrize("seed", [0, 1])
def test_the_shortest_row_is_that_of_a_general_solver(seed):
    h = states(12, 3, seed, shift=2.0)
    bounds = -torch.rand(12, generator=torch.Generator().manual_seed(seed)) - 1
    found = shortest_below(h, bounds)
    limits = {"type": "ineq", "fun": lambda r: bounds.numpy() - h.numpy() @ r}
    expected = minimize(lambda r: r @ r, np.full(3, -2.0), constraints=limits, tol=1e-10).x
    assert torch.allclose(found, torch.tensor(expected).float(), atol=0.05)


def test_what_no_row_satisfies_ends():
    """Opposite states: the measure then says so."""
    h = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    found = shortest_below(h, torch.tensor([-1.0, -1.0]))
    assert torch.isfinite(found).all()


def test_the_margin_is_measured_on_states_that_were_not_fitted():
    """Reading looks a table of states up here; the states of all rounds count."""
    table, head = states(50, 4, 3, shift=6.0), states(50, 4, 4, shift=0.0)
    read, ids = [], torch.randint(0, 50, (8, 7), generator=torch.Generator().manual_seed(5))

    def reading(ids):
        read.append(table[ids[:, 2:]])
        return read[-1]

    found = virtual_row(reading, lambda: iter(head.bfloat16().split(7)), ids)
    seen = torch.stack(read)
    logits = seen @ head.bfloat16().float().T
    gaps = logits.amin(-1) - seen @ found.row.float()
    assert found.row.dtype == torch.bfloat16 and len(read) == 3
    assert found.positions == gaps[:, 3::4].numel() == 3 * 2 * 5
    assert found.margin == pytest.approx(float(gaps[:, 3::4].min()))
    share = ((logits / TEMPERATURE).logsumexp(-1) - (seen @ found.row.float()) / TEMPERATURE)[
        :, 3::4
    ]
    assert found.share == pytest.approx(float((-share).exp().mean()), rel=1e-3)
    fitted = gaps[:, [0, 1, 2, 4, 5, 6]]
    assert fitted.min() > MARGIN - 0.5  # but for rounding


def test_tokens_are_drawn_as_softmax_has_them():
    """In blocks of rows, as for the whole head."""
    head = states(6, 3, 0)
    state = states(1, 3, 1).expand(20000, 1, 3)
    generator = torch.Generator().manual_seed(0)
    said = _said(state, head.split(4), generator)
    logits = state[0, 0] @ head.T
    share = said.drawn.flatten().bincount(minlength=6) / len(state)
    assert torch.allclose(share, (logits / TEMPERATURE).softmax(0), atol=0.02)
    assert torch.allclose(said.lowest, logits.min().expand(20000, 1))


def test_sampling_hot_writes_no_virtual_token():
    """Without suppress_tokens, which not all servers read."""
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = inject_adapter(model, AdeptConfig("adept", 5, 4))
    virtual = get_adapter(model).virtual_token_ids
    merged, tokenizer = merge_adapter(model, tokenizer)
    merged.generation_config.suppress_tokens = None
    torch.manual_seed(0)
    ids = tokenizer(["The soup"] * 50, return_tensors="pt", add_special_tokens=True)
    written = merged.generate(
        **ids, do_sample=True, temperature=2.0, top_k=0, max_new_tokens=40, min_new_tokens=40
    )[:, ids.input_ids.shape[1] :]
    assert written.numel() == 2000 and (written < virtual[0]).all()
    # the worst that could be: how likely any of them is, at each position
    with torch.no_grad():
        share = (merged(**ids).logits / 2).softmax(-1)[:, 5:, virtual].sum(-1)
    assert share.mean() < 1e-4  # copies of a word's row have twice that


def test_what_is_said():
    row = torch.zeros(2)
    told = str(VirtualRow(row, 2e-9, 5.2, 10))
    assert "of 2e-09" in told and "5.2 below" in told and "worst of 10 positions" in told
    assert "5.2 above" in str(VirtualRow(row, 2e-9, -5.2, 10))
    assert "nothing was measured" in str(VirtualRow(row))
    assert "-10000" in str(VirtualRow(row, bias=-1e4))
