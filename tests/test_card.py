"""Model cards: what the hub reads of them, and what a reader needs."""

from dataclasses import replace

import yaml

from adept_llm.card import UNNAMED, adapter_card
from tests.builders import record_of

ADAPTER = {"method": "adept", "num_virtual_tokens": 5, "bottleneck_size": 3}


def front(card):
    return yaml.safe_load(card.split("---")[1])


def test_a_card_names_a_base_of_the_hub_and_how_to_load_it():
    card = adapter_card("org/base-7b", "abc", ADAPTER)
    assert front(card) == {
        "base_model": "org/base-7b", "library_name": "adept_llm", "pipeline_tag": "text-generation",
        "tags": ["adept_llm", "adept"],
    }  # fmt: skip
    assert "from_pretrained('org/base-7b', revision='abc')" in card
    assert "| learnt" not in card


def test_a_folder_of_a_machine_is_no_name_of_the_hub(tmp_path, monkeypatch):
    """Which refuses a card with such a base_model; the folder may say who trained."""
    (tmp_path / "my base").mkdir()
    card = adapter_card(str(tmp_path / "my base"), None, ADAPTER)
    assert "base_model" not in front(card) and str(tmp_path) not in card
    assert "for `my base`: " in card and "from_pretrained('the folder my base')" in card
    gone = adapter_card("/home/somebody/base/", None, ADAPTER)
    assert "# base, tuned" in gone and "somebody" not in gone
    monkeypatch.chdir(tmp_path / "my base")
    assert "# my base, tuned" in adapter_card(".", None, ADAPTER)
    assert "from_pretrained('an unnamed base')" in adapter_card(UNNAMED, None, ADAPTER)


def test_a_card_tells_own_data_by_its_file_s_name_alone():
    """It is published; the folder is of this machine, and may say who trained."""
    arguments = {"data": {"task": None, "train_file": "/home/somebody/data/reviews.jsonl"}}
    card = adapter_card("base", None, ADAPTER, replace(record_of(), arguments=arguments))
    assert "| learnt | reviews.jsonl |" in card and "somebody" not in card


def test_a_card_has_the_task_and_the_metrics_of_the_run():
    results = {"after": {"accuracy": 0.875}, "test": {"accuracy": 0.5}}
    card = adapter_card("base", None, ADAPTER, record_of(train_rows=67).finished(results))
    for row in ("| training rows | 67 |", "| validation accuracy | 0.8750 |",
                "| test accuracy | 0.5000 |", "| virtual tokens | 5 |"):  # fmt: skip
        assert row in card
