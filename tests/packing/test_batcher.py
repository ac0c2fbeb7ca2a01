"""How a model reads rows is decided once; batches keep inputs and book-keeping apart."""

from dataclasses import replace

import pytest
import torch

from adept_llm import InputError, get_adapter
from adept_llm.packing import Batcher, joined_batch, make_batcher, packed_batch, token_losses
from adept_llm.packing.batcher import _say_once
from tests.builders import ARCHITECTURES, adapted, loss_and_gradients, make_examples

EXAMPLES = make_examples([(3, 2), (9, 1), (1, 4)])


@pytest.mark.parametrize(
    ("name", "packing", "longest", "packed", "reason"),
    [
        ("llama", "shared_prefix", 10, True, None),
        ("llama", "padded", 10, False, None),
        ("gemma2", "shared_prefix", 10, False, "gemma2 soft-caps its attention"),
        (
            "mistral",
            "shared_prefix",
            10**6,
            False,
            "sequences of 1000005 tokens",
        ),
    ],
)
def test_packs_where_the_model_can_and_says_why_not(name, packing, longest, packed, reason):
    batcher = make_batcher(adapted(name), packing, longest)
    assert batcher.packed is packed
    assert (batcher.why_padded or "").startswith(reason or "") and bool(batcher.why_padded) == bool(
        reason
    )


@pytest.fixture
def _window(monkeypatch):
    """Windows that hold P and 4 more tokens."""
    for name in ("mistral", "gemma3"):
        monkeypatch.setitem(ARCHITECTURES[name][1], "sliding_window", 9)
    _say_once.cache_clear()


@pytest.mark.parametrize("name", ["mistral", "gemma3"])
def test_a_batch_whose_text_is_longer_than_the_window_is_padded(name, _window, caplog):
    """No length was given; the others stay packed, and it is said once."""
    short, long = make_examples([(3, 2), (2, 1)]), make_examples([(20, 2), (9, 1)])
    padded = make_batcher(adapted(name), "padded")
    model = adapted(name)
    batcher = make_batcher(model)
    for examples, packs in [(short, True), (long, False), (long, False)]:
        assert ("packed_layout" in batcher(examples)["inputs"]) is packs
        expected, _ = loss_and_gradients(adapted(name), padded, examples)
        found, _ = loss_and_gradients(model, batcher, examples)
        assert found == pytest.approx(expected, rel=1e-5)
    assert [r.getMessage() for r in caplog.records if r.name.startswith("adept_llm")] == [
        "padding a batch instead of packing: a text is longer than the sliding window of 9"
    ]


def test_a_packed_row_beyond_the_window_is_refused_by_the_attention_itself(_window):
    """Kernels know no window, so another model would be computed."""
    model = adapted("mistral")
    batcher = make_batcher(model)
    row = packed_batch(batcher.virtual_token_ids, make_examples([(20, 2)]))
    with pytest.raises(InputError, match="26 tokens exceed the sliding window of 9"):
        model(**row["inputs"], use_cache=False)


@pytest.mark.parametrize("packing", ["shared_prefix", "padded"])
@pytest.mark.parametrize("changes", [{"passed_over": ((0, 2),)}, {"target_ids": []}])
def test_a_batch_of_which_nothing_is_learnt_has_no_loss(packing, changes):
    model = adapted("llama-grouped")
    batch = make_batcher(model, packing)([replace(e, **changes) for e in make_examples([(3, 2)])])
    assert token_losses(model, batch["inputs"], batch["labels"]).sum() == 0
    assert (batch["labels"] >= 0).sum() == 0


@pytest.mark.parametrize("packing", ["shared_prefix", "padded"])
def test_a_batch_keeps_the_models_inputs_apart(packing):
    """The model takes all inputs and nothing else; there is a label for each target token."""
    model = adapted("llama-grouped")
    batch = make_batcher(model, packing)(EXAMPLES)
    logits = model(**batch["inputs"], use_cache=False).logits
    assert logits.shape[:-1].numel() == batch["labels"].numel()
    targets = [token for e in EXAMPLES for token in e.target_ids]
    assert batch["labels"][batch["labels"] >= 0].tolist() == targets
    assert batch["example_ids"] == ["0", "1", "2"]
    # the last target token of each text is never read
    assert batch["num_text_tokens"] == sum(len(e.prompt_ids + e.target_ids) - 1 for e in EXAMPLES)


@pytest.mark.parametrize("packed", [True, False])
def test_an_empty_prompt_without_virtual_tokens_is_refused(packed):
    """Its first target would be predicted from another text's last token."""
    examples = make_examples([(2, 1), (0, 2)])
    with pytest.raises(InputError, match="^1: the prompt has no token"):
        Batcher((), packed)(examples)
    assert Batcher((96,), packed)(examples)["labels"].numel() >= 3


def test_an_unknown_packing_is_refused():
    with pytest.raises(InputError, match="'tight' is unknown; known: shared_prefix, padded"):
        make_batcher(adapted("llama"), "tight")


def test_virtual_tokens_stand_once_in_a_packed_row_and_in_each_padded_one():
    model = adapted("llama")
    virtual = torch.tensor(get_adapter(model).virtual_token_ids)
    packed, padded = (
        make_batcher(model, packing)(EXAMPLES)["inputs"]["input_ids"]
        for packing in ("shared_prefix", "padded")
    )
    assert packed.shape == (1, 5 + 4 + 9 + 4)
    assert torch.isin(packed, virtual).sum() == 5 and torch.isin(padded, virtual).sum() == 15


@pytest.mark.parametrize("packing", ["shared_prefix", "padded"])
def test_the_head_reads_rows_that_lie_side_by_side(packing):
    """Torch copies the head's table for each row of another batch: 57 MB for SmolLM2's, in bf16."""
    model = adapted("llama-grouped")
    read = []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, args: read.append(args[0]))
    batch = make_batcher(model, packing)(make_examples([(3, 2), (9, 1)]))
    loss = token_losses(model, batch["inputs"], batch["labels"]).sum()
    assert loss.requires_grad and all(rows.is_contiguous() for rows in read)


def test_joined_batches_are_one_row_in_which_none_sees_another():
    """The losses of each are those of its own row, whatever stands beside it."""
    model = adapted("llama-grouped")
    batcher = make_batcher(model)
    batches = [batcher(EXAMPLES), batcher(EXAMPLES[:1]), batcher(make_examples([(2, 3)], seed=5))]
    row = joined_batch(batches)
    found = token_losses(model, row["inputs"], row["labels"])
    alone = [token_losses(model, one["inputs"], one["labels"]) for one in batches]
    torch.testing.assert_close(found, torch.cat(alone))
    assert row["example_ids"] == ["0", "1", "2", "0", "0"]
    assert row["num_text_tokens"] == sum(one["num_text_tokens"] for one in batches)
