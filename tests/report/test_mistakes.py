"""Wrong predictions and their texts."""

import json

import pytest

from adept_llm.data import Example
from adept_llm.errors import InputError
from adept_llm.evaluation.predictions import Prediction, write_predictions
from adept_llm.report.mistakes import read_mistakes
from adept_llm.report.runs import Run
from adept_llm.report.sections.mistakes import CHARACTERS, shorten
from tests.report.written import content_of, write_run


def row(number, prediction="no", target="yes", **more):
    one = {"id": f"validation.jsonl:{number}", "prediction": prediction, "target": target}
    return {**one, **more}


def read(tmp_path, rows, limit=10, **given):
    run = Run.read(write_run(tmp_path / "run", predictions=rows, **given))
    assert run is not None
    return read_mistakes(run, limit)


def test_labels_are_wrong_where_they_are_not_the_target(tmp_path):
    rows = [row(1, "yes"), row(2, scores={"no": -0.5, "yes": -1}), row(3, " yes", scores={"a": 1})]
    found = read(tmp_path, rows)
    assert (found.wrong, found.rows) == (2, 3)
    assert [one.id for one in found.shown] == ["validation.jsonl:2", "validation.jsonl:3"]
    assert found.shown[0].scores == {"no": -0.5, "yes": -1.0}
    assert found.shown[0].text == "" and "no data" in found.why_no_text


def test_free_text_is_judged_by_the_tasks_metric(tmp_path):
    """SQuAD's exact match and GSM8K's last number forgive what a comparison of texts would not."""
    rows = [
        row(1, "The Eiffel tower!", "x", answers=["eiffel tower"]),
        row(2, "Paris", "x", answers=["London"]),
    ]
    assert [one.id[-1] for one in read(tmp_path, rows, task="newsqa").shown] == ["2"]
    rows = [row(1, "so it is 1,200.", "a\n#### 1200"), row(2, "12", "#### 1200")]
    assert [one.id[-1] for one in read(tmp_path / "b", rows, task="gsm8k").shown] == ["2"]


def test_an_answer_is_judged_by_the_number_that_it_states(tmp_path):
    """By the last number, the task's second metric, the first row would be right."""
    target = "so\nThe answer is: 12"
    rows = [row(1, "it may be 12", target), row(2, "2*6\nThe answer is: 12.0", target)]
    assert [one.id[-1] for one in read(tmp_path, rows, task="metamathqa").shown] == ["1"]


def test_programs_are_not_judged(tmp_path):
    assert read(tmp_path, [row(1)], task="mbpp") is None


def test_some_of_many_are_spread_over_the_file(tmp_path):
    found = read(tmp_path, [row(i) for i in range(100)], limit=5)
    assert (found.wrong, len(found.shown)) == (100, 5)
    assert [one.id.split(":")[1] for one in found.shown] == ["0", "20", "40", "60", "80"]


def test_texts_come_from_the_data_that_the_run_names(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    lines = [{"idx": i, "sentence": f"text {i}", "label": i % 2} for i in range(8)]
    for split in ("train", "validation"):
        (data / f"{split}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    arguments = content_of()["arguments"]
    arguments["data"]["data_dir"] = str(data)
    found = read(tmp_path, [row(3, target="negative")], arguments=arguments)
    assert found.why_no_text == "" and "text 2" in found.shown[0].text


def own_data(tmp_path, **files):
    """Arguments of a run on files of one's own: argument -> name of the file and its answers."""
    arguments = content_of()["arguments"]
    arguments["data"] = {"train_file": "gone.jsonl"}
    for argument, (name, answers) in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        rows = [{"prompt": f"{argument} {i}?", "completion": a} for i, a in enumerate(answers, 1)]
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
        arguments["data"][argument] = str(path)
    return arguments


def test_texts_of_own_files(tmp_path):
    arguments = own_data(tmp_path, validation_file=("validation.jsonl", ["yes"] * 3))
    assert read(tmp_path, [row(2)], arguments=arguments).shown[0].text == "validation_file 2?"


def test_texts_are_those_of_the_file_that_was_answered(tmp_path):
    """--do_predict answers test_file; its ids are those of the other file where names are equal."""
    rows = [row(1), row(2, target="maybe")]
    answered, other = ("a/validation.jsonl", ["yes", "maybe"]), ("b/validation.jsonl", ["yes"] * 2)
    arguments = own_data(tmp_path, test_file=answered, validation_file=other)
    shown = read(tmp_path, rows, arguments=arguments).shown
    assert [one.text for one in shown] == ["test_file 1?", "test_file 2?"]
    arguments = own_data(tmp_path, test_file=other, validation_file=answered)
    shown = read(tmp_path / "evaluated", rows, arguments=arguments).shown
    assert [one.text for one in shown] == ["validation_file 1?", "validation_file 2?"]


def test_rows_that_moved_since_have_no_text(tmp_path):
    """With few labels, every other answer would agree by chance and stand below a wrong text."""
    arguments = own_data(tmp_path, validation_file=("validation.jsonl", ["yes", "no"]))
    found = read(tmp_path, [row(1), row(2)], arguments=arguments)
    assert [one.text for one in found.shown] == ["", ""]
    assert "other rows than those predicted" in found.why_no_text


def test_without_predictions_there_is_nothing_and_damage_is_told(tmp_path):
    assert read(tmp_path, None) is None
    with pytest.raises(InputError, match="predictions.jsonl:1: .* is no line of predictions"):
        read(tmp_path / "b", [{"id": "1"}])


def test_answers_may_hold_what_ends_a_line_of_text(tmp_path):
    """JSON keeps U+2028 and U+0085 as they are: text that is split into lines breaks there."""
    path = write_run(tmp_path / "run") / "predictions.jsonl"
    example = Example("", "?", "a\u2028b", id="x:1")
    write_predictions(path, [Prediction(example, "a\u0085c"), Prediction(example, "a\u2028b")])
    run = Run.read(path.parent)
    assert run is not None
    found = read_mistakes(run, 10)
    assert found is not None
    assert found.rows == 2 and [one.prediction for one in found.shown] == ["a\u0085c"]


@pytest.mark.parametrize("line", [b'{"id": "\xe4"}', b"[" * 9999, b"[]", b"{"], ids=range(4))
def test_a_line_that_cannot_be_read_is_one_line(tmp_path, line):
    folder = write_run(tmp_path / "run", predictions=[row(1)])
    with (folder / "predictions.jsonl").open("ab") as file:
        file.write(line)
    run = Run.read(folder)
    assert run is not None
    with pytest.raises(InputError, match=r"predictions.jsonl:2: .* is no line of pred") as error:
        read_mistakes(run, 10)
    assert "\n" not in str(error.value)


def test_long_texts_keep_both_ends():
    text = "".join(chr(0x4E00 + i) for i in range(CHARACTERS * 2))
    found = shorten(text)
    assert len(found) < CHARACTERS + 10
    assert found.startswith(text[:50]) and found.endswith(text[-50:])
    assert shorten("short") == "short"
