"""Attention to the prompt against weights computed by hand, and the page of one run."""

import json
import re

import pytest
import torch

from adept_llm.cli.main import main
from adept_llm.demo import MODEL
from adept_llm.demo.world import examples
from adept_llm.report.attention import attention_to_prompt
from tests.builders import adapted, make_examples

ROWS = make_examples([(4, 1), (9, 1)])


def test_shares_are_those_of_the_first_layers_own_weights():
    """The first layer of a llama by hand: rotary queries and keys, softmax, columns of P."""
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    model, by_hand, even = adapted("llama", m=5), [], []
    layer = model.model.layers[0]
    for row in ROWS:
        ids = torch.tensor([[*range(96, 101), *row.prompt_ids]])
        hidden = layer.input_layernorm(model.get_input_embeddings()(ids))
        turned = model.model.rotary_emb(hidden, torch.arange(ids.shape[1])[None])
        heads = (1, ids.shape[1], 4, -1)
        query = layer.self_attn.q_proj(hidden).view(heads).transpose(1, 2)
        key = layer.self_attn.k_proj(hidden).view(heads).transpose(1, 2)
        query, key = apply_rotary_pos_emb(query, key, *turned)
        weights = (query[:, :, -1:] @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(-1)
        by_hand.append(weights[0, :, 0, :5].sum(-1).mean().item())
        even.append(5 / ids.shape[1])
    found = attention_to_prompt(model, ROWS)
    assert found.shares[0] == pytest.approx(sum(by_hand) / 2, rel=1e-5)
    assert len(found.shares) == 2 and found.rows == 2
    assert found.even == pytest.approx(sum(even) / 2)


def test_a_method_without_virtual_tokens_has_none():
    assert attention_to_prompt(adapted(m=0), ROWS) is None


def test_the_page_of_a_run(tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in examples(0, 24, "train")))
    run, page = tmp_path / "run", tmp_path / "page.html"
    assert main([
        "train", "--model_name_or_path", str(MODEL), "--train_file", str(rows), "--use_cpu", "true",
        "--validation_file", str(rows), "--num_virtual_tokens", "4", "--bottleneck_size", "3",
        "--output_dir", str(run), "--max_steps", "2", "--report_to", "none",
    ]) == 0  # fmt: skip
    assert main(["inspect", str(run), "--output", str(page)]) == 0
    text = page.read_text("utf-8")
    assert 'id="words"' in text and 'id="attention"' in text and "<script>" in text
    assert f"{run}: rows on model" in text
    layers = text[text.index('id="attention"') :]
    ticks = re.findall(r">(\d[\d.]*)</text>", layers[: layers.index(">layer</text>")])
    assert ticks == ["1", "2", "3"]  # not 1.25
    assert "24 rows" in capsys.readouterr().out
    rows.unlink()
    assert main(["inspect", str(run), "--output", str(page)]) == 2
    assert "give others by --file" in capsys.readouterr().err
    assert main(["inspect", str(run), "--output", "page.pdf"]) == 2
