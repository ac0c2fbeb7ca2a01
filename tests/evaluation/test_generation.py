"""The prompt's cache shared by a batch gives the tokens of stock `generate` with virtual ids."""

from dataclasses import replace

import pytest
import torch
from transformers.generation.streamers import BaseStreamer

from adept_llm import (
    AdeptConfig,
    InputError,
    get_adapter,
    inject_adapter,
    load_adapters,
    save_adapter,
)
from adept_llm.adapters import several_of
from adept_llm.evaluation.generation import Decoding, generate
from adept_llm.evaluation.prefixes import Prefixes
from adept_llm.packing import make_batcher
from tests.builders import ARCHITECTURES, VOCAB, small_model

METHODS = {
    "adept": AdeptConfig("adept", 4, 3),
    "dept": AdeptConfig("dept", 4, 3, offset_positions=9),
    "prompt_tuning": AdeptConfig("prompt_tuning", 4),
    "no prompt": AdeptConfig("adept", 0, 3),
}
NEW = 7
GREEDY = Decoding(NEW)


def adapted(name, method):
    config = METHODS[method] if isinstance(method, str) else method
    model = inject_adapter(small_model(name), config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in get_adapter(model).trained_parameters().values():
            parameter += 0.5 * torch.randn(parameter.shape, generator=generator)
    return model


def prompts():
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(3, VOCAB, (n,), generator=generator).tolist() for n in (5, 1, 9, 3, 5)]


def stock(model, text, eos=None, **options):
    """Tokens of one text by stock generate, [P][text]."""
    ids = torch.tensor([get_adapter(model).virtual_token_ids + text])
    options |= {"do_sample": False, "pad_token_id": 0, "eos_token_id": eos}
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, **options)
    return out[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tokens_are_those_of_stock_generate(name, method):
    """INV 2; a prompt seen twice, a wrong position or a visible pad would change them."""
    model = adapted(name, method)
    eos = VOCAB - 1
    expected = [stock(model, text, eos) for text in prompts()]
    found = {i: ids for i, ids, _ in generate(model, prompts(), eos, GREEDY, batch_size=3)}
    assert [found[i] for i in range(len(expected))] == [
        ids[: ids.index(eos)] if eos in ids else ids for ids in expected
    ]


@pytest.mark.parametrize("name", ["mistral", "phi3", "gemma2", "gemma3"])
@pytest.mark.parametrize("window", [8, 16])
def test_pads_push_no_prompt_out_of_a_sliding_window(name, window, monkeypatch):
    """A window counts hidden columns too; pads between P and a text moved P out of it."""
    kind, changes = ARCHITECTURES[name]
    monkeypatch.setitem(ARCHITECTURES, name, (kind, {**changes, "sliding_window": window}))
    model, eos = adapted(name, "prompt_tuning"), VOCAB - 1
    generator = torch.Generator().manual_seed(3)
    texts = [torch.randint(3, VOCAB, (n,), generator=generator).tolist() for n in (3, 12, 20, 7)]
    expected = [stock(model, text, eos) for text in texts]
    found = {i: ids for i, ids, _ in generate(model, texts, eos, GREEDY)}
    assert [found[i] for i in range(len(texts))] == [
        ids[: ids.index(eos)] if eos in ids else ids for ids in expected
    ]


def test_packed_attention_changes_nothing():
    """A model that was trained on packed rows generates as any other."""
    model = adapted("llama-grouped", "adept")
    before = sorted(generate(model, prompts(), VOCAB - 1, GREEDY))
    assert make_batcher(model, longest_text=20).packed
    after = sorted(generate(model, prompts(), VOCAB - 1, GREEDY))
    assert [one[:2] for one in after] == [one[:2] for one in before]


def test_answers_end_at_eos_and_certainty_is_of_their_tokens():
    """A window is chosen by it: what is padded behind EOS must not count."""
    model = adapted("llama-grouped", "adept")
    text = prompts()[0]
    whole = stock(model, text)
    eos = whole[3]
    cut = whole.index(eos)
    # a companion that goes on for longer, so that the first row is padded
    ((_, ids, certainty),) = (
        one for one in generate(model, [text, prompts()[2]], eos, GREEDY) if one[0] == 0
    )
    assert ids == whole[:cut]
    sequence = torch.tensor([get_adapter(model).virtual_token_ids + text + whole[: cut + 1]])
    with torch.no_grad():
        found = model(sequence).logits[0, -cut - 2 : -1].log_softmax(-1)
    expected = found[torch.arange(cut + 1), torch.tensor(whole[: cut + 1])].mean()
    assert certainty == pytest.approx(expected.item(), abs=1e-4)


def test_the_models_own_generation_config_has_no_say():
    """A penalty looks ids up in the logits, where virtual ids are out of range."""
    model = adapted("llama-grouped", "adept")
    before = sorted(generate(model, prompts(), VOCAB - 1, GREEDY))
    model.generation_config.repetition_penalty = 1.7
    model.generation_config.do_sample = True
    model.generation_config.eos_token_id = before[0][1][0]
    assert sorted(generate(model, prompts(), VOCAB - 1, GREEDY)) == before


def test_the_prompt_is_computed_once():
    """Not once per text or batch: that is the point."""
    model = adapted("llama-grouped", "adept")
    first = get_adapter(model).virtual_token_ids[0]
    seen = []
    get_adapter(model).register_forward_hook(lambda *call: seen.append(call[1][0] == first))
    list(generate(model, prompts(), VOCAB - 1, GREEDY, batch_size=2))
    assert sum(int(one.sum()) for one in seen) == 1


def test_samples_are_drawn_by_torchs_seed():
    """Different ones from one seed to the next, the same for the same."""
    model = adapted("llama-grouped", "adept")

    def draw(seed):
        torch.manual_seed(seed)
        drawn = Decoding(NEW, temperature=1.0)
        found = generate(model, prompts()[:1] * 4, VOCAB - 1, drawn)
        return [ids for _, ids, _ in found]

    assert draw(0) == draw(0) != draw(1)
    assert len({tuple(ids) for ids in draw(0)}) > 1


def test_the_bases_own_generation_config_has_no_say():
    model = adapted("llama-grouped", "adept").eval()
    texts = [[5, 6, 7], [8, 9]]
    plain = list(generate(model, texts, 2, Decoding(6)))
    model.generation_config.no_repeat_ngram_size = 1
    model.generation_config.suppress_tokens = [ids[0] for _, ids, _ in plain if ids]
    own = model.generation_config
    assert list(generate(model, texts, 2, Decoding(6))) == plain
    assert model.generation_config is own


@pytest.mark.parametrize("method", ["adept", "no prompt"])
def test_beams_read_the_shared_prefix_as_stock_beam_search_does(method):
    """A cache that is not repeated for each beam, or in another order, would change the answers."""
    model, eos = adapted("llama-grouped", method), VOCAB - 1
    expected = [stock(model, text, eos, num_beams=3) for text in prompts()]
    assert expected != [stock(model, text, eos) for text in prompts()]
    found = sorted(generate(model, prompts(), eos, Decoding(NEW, num_beams=3), batch_size=3))
    assert [one.ids for one in found] == [
        ids[: ids.index(eos)] if eos in ids else ids for ids in expected
    ]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"num_beams": 0}, "num_beams"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p"),
        ({"top_p": 0.5}, "top_p"),
    ],
)
def test_decoding_that_cannot_work_is_refused(changes, name):
    with pytest.raises(InputError, match=name):
        Decoding(**changes)


@pytest.fixture(scope="module", params=["llama-grouped", "gemma3", "mistral", "gpt2"])
def mixed(request, tmp_path_factory):
    """A model with several adapters, and each of them alone."""
    folder, alone = tmp_path_factory.mktemp("mixed"), {}
    for n, (name, config) in enumerate(METHODS.items()):
        config = replace(config, num_virtual_tokens=config.num_virtual_tokens and 3 + 2 * n)
        alone[name] = adapted(request.param, config)
        save_adapter(alone[name], folder / name)
    model = load_adapters(small_model(request.param), {name: folder / name for name in METHODS})
    return model, alone


@pytest.mark.parametrize("beams", [1, 2])
def test_rows_of_several_adapters_are_as_with_one_at_a_time(mixed, beams):
    """Prompts of other lengths, and none, in one batch: a wrong pad, place or owner would show."""
    model, alone = mixed
    eos, names = VOCAB - 1, [*METHODS, "dept"]
    expected = [
        stock(alone[name], text, eos, num_beams=beams)
        for name, text in zip(names, prompts(), strict=True)
    ]
    decoding = Decoding(NEW, num_beams=beams)
    found = sorted(generate(model, prompts(), eos, decoding, batch_size=3, adapters=names))
    assert [one.ids for one in found] == [
        ids[: ids.index(eos)] if eos in ids else ids for ids in expected
    ]


def test_prefixes_are_computed_once_for_all_calls(mixed):
    model, _ = mixed
    first, names = VOCAB, ["adept", "prompt_tuning", "adept"]
    seen = []
    prefixes = Prefixes(model, names)
    hook = several_of(model).register_forward_hook(lambda *call: seen.append(call[1][0] == first))
    for _ in range(2):
        list(generate(model, prompts()[:3], 2, GREEDY, 2, adapters=names, prefixes=prefixes))
    hook.remove()
    assert sum(int(one.sum()) for one in seen) == 2, "one for each adapter"


def test_whose_prompts_they_are_must_be_said(mixed):
    model, _ = mixed
    with pytest.raises(InputError, match="several adapters"):
        list(generate(model, prompts(), 2, GREEDY))
    with pytest.raises(InputError, match="'x' is not there"):
        list(generate(model, prompts(), 2, GREEDY, adapters=["x"] * 5))


def test_a_streamer_hears_the_tokens_as_they_come():
    model, heard = adapted("llama-grouped", "adept"), []

    class Heard(BaseStreamer):
        def put(self, value):
            heard.append(value.flatten().tolist())

        def end(self):
            heard.append("end")

    text = prompts()[0]
    ((_, ids, _),) = generate(model, [text], VOCAB - 1, GREEDY, streamer=Heard())
    assert heard == [get_adapter(model).virtual_token_ids + text, *([one] for one in ids), "end"]


def test_the_head_reads_rows_that_lie_side_by_side(monkeypatch):
    """Else torch copies it for each row of the first step, which takes most of the time."""
    model, seen = adapted("llama-grouped", "adept"), []
    head = model.get_output_embeddings()
    monkeypatch.setattr(
        head, "forward", lambda x: seen.append(x.is_contiguous()) or x @ head.weight.T
    )
    list(generate(model, prompts(), VOCAB - 1, GREEDY))
    assert len(seen) > NEW and all(seen[1:]), "all but the prompt's own, of one row"
