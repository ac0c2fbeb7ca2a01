"""run.json: what is written is read back, with its types; what is damaged is refused."""

import json
from dataclasses import replace

import pytest

import adept_llm
from adept_llm import InputError
from adept_llm.record import RECORD_FILE, VERSION, RunRecord
from tests.builders import record_of


def test_what_was_written_is_read_back(tmp_path):
    record = record_of(labels=("a", "b")).finished({"after": {"accuracy": 0.5}, "steps": 4})
    record.write(tmp_path)
    assert RunRecord.read(tmp_path) == record


def test_arguments_keep_their_types(tmp_path):
    """None is null and a list a list, not "None" and "['tensorboard']"."""
    given = {"training": {"max_grad_norm": 1.0, "deepspeed": None, "report_to": ["tensorboard"]}}
    replace(record_of(), arguments=given).write(tmp_path)
    assert json.loads((tmp_path / RECORD_FILE).read_text())["arguments"] == given


def test_a_record_says_what_ran_where():
    record = record_of()
    assert record.versions["adept_llm"] == adept_llm.__version__
    assert {"python", "torch", "transformers"} <= record.versions.keys()
    assert record.command == ("adept-llm", "train")
    assert record.date.endswith("+00:00") and record.hardware["ranks"] == 1


def test_a_run_is_not_finished_before_it_has_results():
    record = record_of()
    assert record.results is None and record.finished({}).results == {}


def test_a_folder_without_a_record_has_none(tmp_path):
    assert RunRecord.read(tmp_path) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.update(version=VERSION + 1),
        lambda content: content.pop("version"),
        lambda content: content.pop("data"),
        lambda content: content["data"].update(labels=[3]),
        lambda content: content["data"].update(max_length="64"),
        lambda content: content["data"].update(kind="numbers"),
        lambda content: content["data"].update(novelty=1),
    ],
)
def test_a_record_that_is_damaged_or_of_another_version_is_refused(tmp_path, damage):
    content = json.loads(record_of().to_bytes())
    damage(content)
    (tmp_path / RECORD_FILE).write_text(json.dumps(content))
    with pytest.raises(InputError, match="run.json: is not what a training run of this version"):
        RunRecord.read(tmp_path)
