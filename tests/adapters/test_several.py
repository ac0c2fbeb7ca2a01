"""Several adapters on one base give each row what it gets of its adapter alone."""

from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from adept_llm import (
    InputError,
    get_adapter,
    inject_adapter,
    load_adapter,
    load_adapters,
    merge_adapter,
    save_adapter,
)
from adept_llm.adapters import (
    AdeptEmbedding,
    SeveralAdapters,
    only,
    rows_of,
    several_of,
    virtual_token_ids,
)
from adept_llm.adapters.injection import attach
from adept_llm.packing import PackedLayout
from adept_llm.packing.attention import prepared_mask, use_packed_attention
from tests.builders import CONFIGS, VOCAB, small_model

# other methods, lengths and widths; one name has a dot
KINDS = {
    "a": replace(CONFIGS["adept"], num_virtual_tokens=5),
    "b.1": replace(CONFIGS["dept"], num_virtual_tokens=3),
    "c": replace(CONFIGS["superpos"], num_virtual_tokens=7),
    "d": replace(CONFIGS["embedding_lora"], num_virtual_tokens=0),
    "e": replace(CONFIGS["adept"], num_virtual_tokens=2, bottleneck_size=6, units="plain"),
}
NAMES = tuple(KINDS)
MODELS = ["llama-grouped", "llama-tied", "gemma3", "gpt2", "opt"]


@pytest.fixture(scope="module", params=MODELS)
def base(request, tmp_path_factory):
    """An architecture, and its adapters' folders."""
    folder = tmp_path_factory.mktemp("several")
    for name, config in KINDS.items():
        model = inject_adapter(small_model(request.param), config)
        generator = torch.Generator().manual_seed(len(name) + config.num_virtual_tokens)
        with torch.no_grad():
            for value in get_adapter(model).trained_parameters().values():
                value.add_(0.3 * torch.randn(value.shape, generator=generator))
        save_adapter(model, folder / name)
    return request.param, folder


def together(base):
    name, folder = base
    return load_adapters(small_model(name), {one: folder / one for one in NAMES})


def alone(base, one):
    name, folder = base
    return load_adapter(small_model(name), folder / one)


def words(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB, (n,), generator=generator).tolist()


def rows():
    """[P][text] of one row for each adapter, two for the first, in mixed order."""
    owners = ["c", "a", "e", "b.1", "a", "d"]
    prefix = {one: [VOCAB + i for i in range(c.num_virtual_tokens)] for one, c in KINDS.items()}
    return owners, [prefix[one] + words(4 + n, n) for n, one in enumerate(owners)]


def padded(texts):
    size = max(map(len, texts))
    ids = torch.tensor([[0] * (size - len(text)) + text for text in texts])
    mask = torch.tensor([[0] * (size - len(text)) + [1] * len(text) for text in texts])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(0)}


@torch.no_grad()
def test_each_row_is_its_own_adapters(base):
    """A wrong owner, order of rows, prompt or position would show."""
    model, (owners, texts) = together(base), rows()
    seen = []
    with several_of(model).register_forward_hook(lambda *call: seen.append(call[-1])):
        with rows_of(model, owners):
            logits = model(**padded(texts)).logits
    for place, (one, text) in enumerate(zip(owners, texts, strict=True)):
        single, expected = alone(base, one), []
        with get_adapter(single).register_forward_hook(
            lambda *call, e=expected: e.append(call[-1])
        ):
            found = single(input_ids=torch.tensor([text])).logits
        assert torch.equal(seen[0][place, -len(text) :], expected[0][0])
        assert torch.allclose(logits[place, -len(text) :], found[0], atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_spans_of_a_packed_row(base):
    """Two roots and their texts in one row, each span with its own adapter."""
    model, single = together(base), {one: alone(base, one) for one in ("a", "b.1")}
    spans = [("a", words(4, 0)), ("a", words(6, 1)), ("b.1", words(5, 2))]
    prefix = {one: virtual_token_ids(single[one]) for one in single}
    layout = PackedLayout((5, 4, 6, 3, 5), (-1, 0, 0, -1, 3))
    row = [*prefix["a"], *spans[0][1], *spans[1][1], *prefix["b.1"], *spans[2][1]]
    use_packed_attention(model)
    with rows_of(model, ["a", "b.1"], [15, 8]):
        logits = model(
            input_ids=torch.tensor([row]), position_ids=layout.position_ids(),
            attention_mask=prepared_mask(), packed_layout=layout, use_cache=False,
        ).logits[0]  # fmt: skip
    for index, (one, text) in zip((1, 2, 4), spans, strict=True):
        ids = torch.tensor([prefix[one] + text])
        expected = single[one](input_ids=ids).logits[0, len(prefix[one]) :]
        found = logits[layout.segment_tokens(index)]
        assert torch.allclose(found, expected, atol=2e-5, rtol=1e-4)


def test_gradients_are_those_of_ones_own_rows():
    """A table of names that mixed two up would give one adapter the other's gradient."""
    base, names = small_model("llama-grouped"), ("a", "b.1")
    single = {one: inject_adapter(small_model("llama-grouped"), KINDS[one]) for one in names}
    layers = {}
    for one in names:
        table = get_adapter(single[one]).table
        layers[one] = AdeptEmbedding(base.get_input_embeddings(), KINDS[one], table)
        layers[one].load_state_dict(get_adapter(single[one]).state_dict())
    model = attach(base, SeveralAdapters(layers)).train()
    texts = [virtual_token_ids(single[one]) + words(6, 0) for one in names]
    with rows_of(model, names[::-1]):
        model(**padded(texts[::-1])).logits[:, -6:].square().sum().backward()
    for one, text in zip(names, texts, strict=True):
        model = single[one].train()
        model(input_ids=torch.tensor([text])).logits[:, -6:].square().sum().backward()
        expected = get_adapter(model).trained_parameters()
        for name, value in layers[one].trained_parameters().items():
            assert torch.allclose(value.grad, expected[name].grad, rtol=1e-4, atol=1e-5), name


@torch.no_grad()
def test_only_one_is_as_if_it_were_loaded_alone(base):
    model = together(base)
    for one in NAMES:
        with only(model, one):
            ids = torch.tensor([virtual_token_ids(model) + words(5, 3)])
            assert torch.equal(model(ids).logits, alone(base, one)(ids).logits)
            assert not model.train().eval().training
    assert several_of(model).names == NAMES
    assert not several_of(model).training


@torch.no_grad()
def test_only_one_reads_and_continues_words_as_if_it_were_loaded_alone(base):
    """Words alone were read with its offset and without its prompt."""
    model = together(base)
    ids = torch.tensor([words(5, 3), words(5, 4)])
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    for one in NAMES:
        single = alone(base, one)
        expected = single.generate(ids, attention_mask=torch.ones_like(ids), **options)
        with only(model, one):
            assert torch.equal(model(ids).logits, single(ids).logits)
            found = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
        assert torch.equal(found, expected)


@torch.no_grad()
def test_rows_without_the_prompt_of_their_adapter_are_refused(base):
    """Each row has a prompt of its own length, which the caller writes; none is read without."""
    model = together(base)
    ids = torch.tensor([words(5, 0), words(5, 1)])
    line = "a row of 'b.1' holds no virtual tokens; put its 3, from 96 on"
    for copies in (1, 2):  # beams
        with pytest.raises(InputError, match=line), rows_of(model, ["d", "b.1"]):
            model(ids.repeat_interleave(copies, 0), use_cache=False)
    hidden = torch.tensor([[VOCAB, *words(4, 0)]])  # padding
    with pytest.raises(InputError, match=line), rows_of(model, ["b.1"]):
        model(hidden, attention_mask=(hidden < VOCAB).long())
    with rows_of(model, ["d", "d"]):  # has none
        assert torch.equal(model(ids).logits, alone(base, "d")(ids).logits)


@torch.no_grad()
def test_beams_of_a_row_are_its_adapters(base):
    model = together(base)
    ids = torch.tensor([words(5, 0), words(5, 1)])
    with rows_of(model, ["a", "d"]):
        found = several_of(model)(ids.repeat_interleave(3, 0))
    for place, one in ((0, "a"), (3, "d")):
        assert torch.equal(
            found[place + 2], get_adapter(alone(base, one))(ids[place // 3 : place // 3 + 1])[0]
        )


def test_within_rows_of_another_one_ends_by_itself(base):
    model = together(base)
    ids = torch.tensor([words(5, 0)])
    with rows_of(model, ["a"], [5]):
        expected = several_of(model)(ids)
        with rows_of(model, ["d"]):
            several_of(model)(ids)
        assert torch.equal(several_of(model)(ids), expected)
    with pytest.raises(InputError, match="within `rows_of`"):
        model(ids)


def test_what_is_not_told_is_refused(base):
    model = together(base)
    ids = torch.tensor([words(5, 0)])
    with pytest.raises(InputError, match="within `rows_of`"):
        model(ids)
    with pytest.raises(InputError, match="'z' is not there; known: a, b.1"), rows_of(model, ["z"]):
        pass
    with pytest.raises(InputError, match="'z' is not there"), only(model, "z"):
        pass
    with pytest.raises(InputError, match="2 rows were announced by `rows_of`, 1 came"):
        with rows_of(model, ["a", "d"]):
            model(ids)
    with pytest.raises(InputError, match="3 tokens were announced by `rows_of`, 5 came"):
        with rows_of(model, ["a", "d"], [1, 2]):
            model(ids)
    for asks in (lambda: virtual_token_ids(model), lambda: get_adapter(model)):
        with pytest.raises(InputError, match="several"):
            asks()
    with pytest.raises(InputError, match="already has an adapter"):
        load_adapter(model, base[1] / "a")
    with pytest.raises(InputError, match="several"):
        merge_adapter(model, None)
    with pytest.raises(InputError, match="none is given"):
        load_adapters(small_model(base[0]), {})


def test_a_merge_within_only_is_told(base):
    """The others would come back in front of a longer head, silently."""
    model, tokenizer = together(base), WordLevel({"<unk>": 0}, unk_token="<unk>")
    with pytest.raises(InputError, match="'a' was merged within `only`"), only(model, "a"):
        merge_adapter(model, PreTrainedTokenizerFast(tokenizer_object=Tokenizer(tokenizer)))
    model = together(base)
    with pytest.raises(KeyboardInterrupt), only(model, "a"):  # not told as another fault
        model.set_input_embeddings(several_of(together(base)).base)
        raise KeyboardInterrupt


def test_an_adapter_of_another_base_is_refused(base):
    name, folder = base
    with pytest.raises(InputError, match="rms"):
        load_adapters(small_model(name, seed=1), {one: folder / one for one in NAMES})
