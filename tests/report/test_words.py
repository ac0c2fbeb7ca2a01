"""Sizes of offsets and neighbours of the prompt, against the formulas on whole tables."""

import json

import pytest
import torch

from adept_llm.adapters import get_adapter, inject_adapter, save_adapter
from adept_llm.demo import MODEL
from adept_llm.errors import InputError
from adept_llm.report.groups import Comparison
from adept_llm.report.runs import Run
from adept_llm.report.sections.words import words_section
from adept_llm.report.words import read_words, word_of
from tests.builders import CONFIGS
from tests.report.written import write_run


@pytest.fixture(scope="module")
def base():
    """The demo's Llama, which has a tokenizer."""
    from adept_llm.base.loading import load_model

    return lambda: load_model(str(MODEL), dtype="float32")


def tuned(folder, base, method):
    """A run whose adapter is far from its start, and the model."""
    model = inject_adapter(base(), CONFIGS[method])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in get_adapter(model).trained_parameters().values():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    write_run(folder, method=method)
    save_adapter(model, folder)
    run = Run.read(folder)
    assert run is not None
    return run, model


@pytest.mark.parametrize("method", ["adept", "embedding_lora"])
def test_the_size_is_the_offsets_rms_in_the_tables_units(tmp_path, base, method):
    run, model = tuned(tmp_path / "run", base, method)
    found = read_words(run)
    layer = get_adapter(model)
    words = torch.arange(layer.table.vocab_size)
    moved = layer.adapt_rows(layer.weight, words).double() - layer.weight.double()
    expected = moved.detach().square().mean(1).sqrt() / layer.weight.double().square().mean().sqrt()
    assert found.sizes == pytest.approx(expected.sort().values.tolist(), rel=1e-4, abs=1e-5)
    assert found.moved[0][1] == pytest.approx(float(expected.max()), rel=1e-4)
    assert found.quantile(1.0) == found.sizes[-1] and found.quantile(0.0) == found.sizes[0]
    from adept_llm.base.loading import load_tokenizer

    tokenizer = load_tokenizer(str(MODEL))
    assert found.moved[0][0] == word_of(tokenizer, int(expected.argmax()))
    assert not found.by_position


def test_an_offset_by_position_has_sizes_of_positions_and_moves_no_word(tmp_path, base):
    run, model = tuned(tmp_path / "run", base, "dept")
    found, form = read_words(run), get_adapter(model).offset
    expected = (form.a.double() @ form.b.double()).square().mean(1).sqrt()
    assert found.sizes == pytest.approx(expected.sort().values.tolist(), rel=1e-5)
    assert found.by_position and found.moved == ()


def test_the_nearest_words_have_the_largest_cosines(tmp_path, base):
    run, model = tuned(tmp_path / "run", base, "prompt_tuning")
    found, layer = read_words(run), get_adapter(model)
    assert found.sizes == () and len(found.nearest) == layer.config.num_virtual_tokens
    table, prompt = layer.weight.double(), layer.prompt_rows(torch.float64)
    cosines = torch.nn.functional.cosine_similarity(prompt[:, None], table[None], dim=-1)
    for row, near in zip(cosines, found.nearest, strict=True):
        assert [one.cosine for one in near] == pytest.approx(row.topk(3).values.tolist(), abs=1e-5)


def test_without_the_base_the_section_is_one_line(tmp_path, base):
    run, _ = tuned(tmp_path / "run", base, "adept")
    path = run.folder / "adapter_config.json"
    path.write_text(path.read_text().replace(json.dumps(str(MODEL)), '"gone/base"'))
    with pytest.raises(InputError, match="gone/base"):
        read_words(run)
    html = words_section(Comparison.of([run]))
    assert html is not None and html.count("gone/base") == 1 and "<table" not in html


def test_the_section_has_sizes_words_and_neighbours(tmp_path, base):
    run, _ = tuned(tmp_path / "run", base, "adept")
    html = words_section(Comparison.of([run]))
    assert html is not None
    assert html.count('role="img"') == 1 and html.count("<caption>") == 2
    assert html.count("<code>") == 12 + 3 * CONFIGS["adept"].num_virtual_tokens


def test_runs_without_an_adapter_have_no_section(tmp_path):
    folder = write_run(tmp_path / "run", adapter={"method": "lora"})
    run = Run.read(folder)
    assert run is not None and words_section(Comparison.of([run])) is None


def test_words_keep_their_blanks(metaspace, byte_level):
    """Tokenizers drop the blank in front of a text's first word."""
    for tokenizer in (metaspace, byte_level):
        ids = tokenizer("no the\nbook", add_special_tokens=False).input_ids
        assert "".join(word_of(tokenizer, i) for i in ids).lstrip("␣") == "no␣the↵book"


def test_a_part_of_a_character_is_named_and_not_shown_as_a_mark(byte_level):
    parts = byte_level("é" * 3, add_special_tokens=False).input_ids
    assert "\ufffd" not in "".join(word_of(byte_level, i) for i in parts)
