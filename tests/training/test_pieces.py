"""Micro-batches in pieces: no piece too large, none of a rank missing, and the same losses."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adept_llm import AdeptConfig, InputError, get_adapter, inject_adapter
from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.packing import Batcher, computed_tokens, make_batcher
from adept_llm.training.arguments import AdeptTrainingArguments
from adept_llm.training.log_file import read_losses
from adept_llm.training.pieces import Pieces, evenly, neighbours
from adept_llm.training.sampling import GlobalBatches, Shares
from adept_llm.training.trainer import AdeptTrainer
from tests.builders import make_examples, small_model
from tests.training.runs import losses_of, trainer_of

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=40)
SPLITS = (st.integers(1, 9), st.integers(1, 3), st.integers(1, 4))
WIDTHS = st.lists(st.integers(1, 30), min_size=1, max_size=9)
WAYS = pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
# no dropout: it draws by micro-batch, and so by pieces
PLAIN = AdeptConfig("adept", 4, 3)


def by_rank(lengths, shares, pieces, bucket=0):
    """What each rank's sampler gives."""
    batch_size, accumulation, world = shares
    return [
        list(
            GlobalBatches(
                lengths, Shares(batch_size, accumulation, world, n), 3, lambda: 0, bucket, pieces
            )
        )
        for n in range(world)
    ]


@WAYS
@given(LENGTHS, st.tuples(*SPLITS), st.integers(0, 5), st.integers(0, 60))
def test_no_piece_is_too_large_and_no_rank_lacks_one(packed, lengths, shares, m, more):
    pieces = Pieces(m + max(*lengths, 2) - 1 + more, m, packed)
    ranks = by_rank(lengths, shares, pieces)
    whole = by_rank(lengths, shares, Pieces())
    for rank, uncut in zip(ranks, whole, strict=True):
        for found, (hand,) in zip(rank, uncut, strict=True):
            # the same examples in the same order; one that stands in is alone
            kept = [piece for piece in found if piece[0] >= 0]
            assert sorted(sum(kept, [])) == sorted(index for index in hand if index >= 0)
            assert all(piece == sorted(piece, key=hand.index) for piece in kept)
            assert all(len(piece) == 1 for piece in found if piece not in kept)
    for turn in zip(*ranks, strict=True):
        assert len({len(found) for found in turn}) == 1
        for piece in (piece for found in turn for piece in found):
            texts = [lengths[max(index, -1 - index)] - 1 for index in piece]
            assert computed_tokens(m, texts, packed) <= pieces.most
    if more == 60 and len(lengths) * (m + max(lengths)) <= pieces.most:
        assert ranks == whole


@WAYS
def test_batches_that_fit_are_left_whole(packed):
    lengths, shares = [9, 3, 5, 20, 2, 2, 7, 7], (4, 1, 2)
    whole = by_rank(lengths, shares, Pieces())
    assert by_rank(lengths, shares, Pieces(1000, 5, packed)) == whole
    assert by_rank(lengths, shares, Pieces(24, 5, packed)) != whole


def test_a_rank_with_too_few_examples_computes_one_without_targets():
    """One rank has a long example, the other many: both compute three pieces."""
    hands, lengths = [[0], [1, 2, 3]], [21, 11, 11, 11]
    pieces = Pieces(25, 4)
    assert pieces.number(hands, lengths) == 2 == Pieces(25, 4).number(hands[1:], lengths)
    assert pieces.cut([0], lengths, 3) == [[0], [-1], [-1]]
    assert pieces.cut([-1], lengths, 2) == [[-1], [-1]]
    assert pieces.cut([1, 2, 3], lengths, 3) == [[1], [2], [3]]


@given(WIDTHS, st.integers(1, 9))
def test_one_hand_more_is_never_fuller(weights, number):
    """Or a rank whose pieces fit would be cut into more, and one of them not fit."""

    def fullest(hands):
        return sum(weights[place] for place in evenly(weights, hands)[0])

    assert fullest(number + 1) <= fullest(number)
    loads = [sum(weights[place] for place in hand) for hand in evenly(weights, number)]
    assert loads == sorted(loads, reverse=True) and sum(loads) == sum(weights)
    assert loads[0] - loads[-1] <= max(weights)


@given(WIDTHS, st.integers(1, 9))
def test_neighbours_are_the_best_of_all_cuts(widths, number):
    number = min(number, len(widths))
    runs = neighbours(widths, number)
    assert len(runs) == number
    assert sorted(place for run in runs for place in run) == list(range(len(widths)))
    # by trying all
    falling = sorted(widths, reverse=True)
    best = min(
        max((b - a) * falling[a] for a, b in zip((0, *cuts), (*cuts, len(widths)), strict=True))
        for cuts in combinations(range(1, len(widths)), number - 1)
    )
    sizes = [len(run) * max(widths[place] for place in run) for run in runs]
    assert max(sizes) == sizes[0] == best


@pytest.mark.parametrize("packing", ["shared_prefix", "padded"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_losses_and_adapter_are_those_without(tmp_path, packing, accumulation):
    """INV 6; eight steps go past two epochs' ends, whose last batches are short."""
    found = {}
    for most in (None, 14):
        folder = tmp_path / str(most)
        trainer = trainer_of(
            folder, config=PLAIN, packing=packing, gradient_accumulation_steps=accumulation,
            per_device_train_batch_size=8 // accumulation, tokens_per_batch=most,
            save_strategy="no",
        )  # fmt: skip
        sizes = widths_seen(trainer)
        trainer.train()
        values = get_adapter(trainer.model).trained_parameters()
        found[most] = read_losses(folder), {n: v.detach() for n, v in values.items()}
        assert (max(sizes) <= 14) == (most is not None)
        assert (trainer.speed.examples, trainer.state.epoch) == (23 + 23 + 16, pytest.approx(8 / 3))
        found[most] += (trainer.speed.tokens,)
    (losses, adapter, tokens), (cut_losses, cut_adapter, cut_tokens) = found.values()
    assert cut_losses == pytest.approx(losses, rel=1e-5) and len(losses) == 8
    assert cut_tokens == tokens
    for name, value in adapter.items():
        torch.testing.assert_close(cut_adapter[name], value, rtol=1e-3, atol=1e-5)


def widths_seen(trainer):
    """Tokens of each call of the model, filled as it trains."""
    sizes = []
    decoder = trainer.model.get_decoder()
    decoder.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(decoder_tokens(args, kwargs)), with_kwargs=True
    )
    return sizes


def decoder_tokens(args, kwargs):
    ids = kwargs.get("input_ids")
    return (args[0] if ids is None else ids).numel()


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    """INV 8, with dropout; other pieces change rounding alone, so they may be given on resuming."""
    settings = {"lr_scheduler_type": "constant", "warmup_steps": 1}
    whole = losses_of(tmp_path / "whole", **settings, tokens_per_batch=14)
    losses_of(tmp_path / "cut", **settings, tokens_per_batch=14, max_steps=4)
    assert losses_of(tmp_path / "cut", resume="auto", **settings, tokens_per_batch=14) == whole
    plain = losses_of(tmp_path / "plain", **settings, config=PLAIN)
    losses_of(tmp_path / "other", **settings, config=PLAIN, max_steps=4)
    other = losses_of(
        tmp_path / "other", resume="auto", **settings, config=PLAIN, tokens_per_batch=14
    )
    assert other == pytest.approx(plain, rel=1e-5)


def test_checkpointed_gradients_are_the_same(tmp_path):
    plain = losses_of(tmp_path / "plain", config=PLAIN, max_steps=3)
    cut = losses_of(
        tmp_path / "cut", config=PLAIN, max_steps=3, tokens_per_batch=14,
        gradient_checkpointing=True,
    )  # fmt: skip
    assert cut == pytest.approx(plain, rel=1e-5)


def test_a_loop_of_ones_own_is_told_which_row_is_too_long(tmp_path):
    model = inject_adapter(small_model("llama"), PLAIN)
    args = AdeptTrainingArguments(str(tmp_path), report_to="none", use_cpu=True, tokens_per_batch=9)
    rows = make_examples([(3, 1), (4, 3), (2, 1)])
    trainer = AdeptTrainer(model, args, rows, make_batcher(model))
    with pytest.raises(InputError, match=f"{rows[1].id} has 10 tokens, 4 virtual ones"):
        trainer.get_train_dataloader()
    args.tokens_per_batch = 10
    assert len(list(trainer.get_train_dataloader())) == 1


@pytest.fixture
def command(tmp_path):
    """A run of rows with one long among short ones."""
    rows = tmp_path / "rows.csv"
    text = "say it,now\n" * 15 + "say it again and again and again and again and again,now\n"
    rows.write_text("prompt,completion\n" + text)
    return [
        "train", "--model_name_or_path", str(MODEL), "--train_file", str(rows), "--use_cpu", "true",
        "--output_dir", str(tmp_path / "out"), "--max_steps", "2", "--report_to", "none",
        "--num_virtual_tokens", "3",
    ]  # fmt: skip


@pytest.mark.parametrize("dry", [True, False])
def test_too_long_a_row_is_refused_before_weights_are_read(command, capsys, monkeypatch, dry):
    def read(*given):
        raise AssertionError("weights were read")

    monkeypatch.setattr("adept_llm.cli.train.load_model", read)
    assert main([*command, "--tokens_per_batch", "12", *(["--dry_run"] if dry else [])]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: tokens_per_batch: rows.csv:17 has ")
    alone = int(line.split("has ")[1].split()[0])
    assert f"12 are allowed; give --tokens_per_batch {alone} or more" in line
    # what it advises is enough, and no less
    assert main([*command, "--tokens_per_batch", str(alone - 1), "--dry_run"]) == 2
    assert main([*command, "--tokens_per_batch", str(alone), "--dry_run"]) == 0


def test_a_dry_run_tells_of_the_pieces(command, capsys):
    assert main([*command, "--dry_run"]) == 0
    assert "largest micro-batch" in capsys.readouterr().out
    assert main([*command, "--tokens_per_batch", "40", "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "tokens, packed, of 40 allowed" in out and "on average, at most" in out
    assert "largest micro-batch" not in out


def test_bounds_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="tokens_per_batch: 0 is none; leave it out"):
        AdeptTrainingArguments(str(tmp_path), report_to="none", tokens_per_batch=0)


def test_batches_of_a_batcher_hold_what_is_counted():
    """The formula, against the collators."""
    rows = make_examples([(3, 1), (7, 2), (1, 1)])
    texts = [len(row.prompt_ids) + len(row.target_ids) - 1 for row in rows]
    for packed in (True, False):
        batch = Batcher(tuple(range(90, 94)), packed)(rows)
        assert batch["inputs"]["input_ids"].numel() == computed_tokens(4, texts, packed)
