"""Labels by likelihood, windows of long contexts, predictions in a file."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from adept_llm import AdeptConfig, InputError, get_adapter, inject_adapter
from adept_llm.data import Encoder, Example
from adept_llm.demo import MODEL
from adept_llm.evaluation.answers import AnswerMeasure
from adept_llm.evaluation.generation import Answer
from adept_llm.evaluation.label_scoring import score_labels, with_end
from adept_llm.evaluation.measure import make_measure, measure_answers
from adept_llm.evaluation.predictions import write_predictions
from adept_llm.evaluation.programs import sandbox
from adept_llm.evaluation.token_loss import TokenLoss
from adept_llm.packing import make_batcher
from adept_llm.tasks import get_task, load_split

FIXTURES = Path(__file__).parents[1] / "tasks" / "fixtures"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


def demo(m=5, packed=True):
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    model = inject_adapter(model, AdeptConfig("adept", m, 3))
    with torch.no_grad():
        get_adapter(model).offset.w2.normal_(0, 0.2, generator=torch.Generator().manual_seed(0))
    return model, make_batcher(model, "shared_prefix" if packed else "padded")


def labelled(n, labels=("no", "yes")):
    return Example("Fits?", "a b " * n, labels[n % 2], id=str(n), labels=labels)


@pytest.mark.parametrize("packed", [False, True])
def test_scores_are_those_of_one_row_at_a_time(tokenizer, packed):
    """Label sets that differ in number and length from example to example."""
    labels = [("no", "yes"), ("a long one", "b", "c d"), ("x", "x y")]
    examples = [
        Example("Which?", "word " * (3 * n + 1), each[0], id=str(n), labels=each)
        for n, each in enumerate(labels)
    ]
    encoder = Encoder(tokenizer, "plain", 99)
    encoded, _ = encoder.encode_all(examples)
    ids = [with_end(encoder.label_ids(each), tokenizer.eos_token_id) for each in labels]
    assert [one[-1] == tokenizer.eos_token_id for one in ids[2]] == [True, True]
    model, batcher = demo(packed=packed)
    found = score_labels(model, batcher, encoded, ids, batch_size=2)
    for one, each, scores in zip(encoded, ids, found, strict=True):
        for label, score in zip(each, scores, strict=True):
            row = get_adapter(model).virtual_token_ids + one.prompt_ids + label
            with torch.no_grad():
                logits = model(torch.tensor([row])).logits[0, :-1].log_softmax(-1)
            expected = logits[-len(label) :].gather(1, torch.tensor(label)[:, None]).sum()
            assert score.item() == pytest.approx(expected.item(), abs=2e-4)


def test_packed_and_padded_measure_the_same(tokenizer):
    """And the main metric comes first."""
    examples = load_split(get_task("winogrande"), "train", FIXTURES / "winogrande")
    measure = AnswerMeasure.of_task(
        Encoder(tokenizer, "plain", 120), get_task("winogrande"), examples
    )
    packed, padded = measure(*demo(packed=True)), measure(*demo(packed=False))
    assert packed == pytest.approx(padded, rel=1e-5) and list(packed) == ["accuracy", "loss"]


@pytest.mark.parametrize("task", ["winogrande", "stsb", "newsqa"])
def test_the_loss_is_that_of_training(tokenizer, task):
    """Labels of one token or several, and free text: what is trained is what is measured."""
    examples = load_split(get_task(task), "train", FIXTURES / task)
    encoder = Encoder(tokenizer, "plain", 400)
    model, batcher = demo()
    found = AnswerMeasure.of_task(encoder, get_task(task), examples)(model, batcher)
    assert found["loss"] == pytest.approx(
        TokenLoss.of(encoder, examples, 4)(model, batcher)["loss"], rel=1e-5
    )


def test_the_loss_of_drawn_samples_is_not_measured(tokenizer):
    """It is that of the right answer, whatever was drawn."""
    example = Example("Answer.", "a b", "x y z", id="1")
    encoder = Encoder(tokenizer, "plain", 60)
    drawn = AnswerMeasure.of(
        encoder, [example], ["token_f1"], max_new_tokens=2, samples=2, temperature=1.0
    )
    assert list(drawn(*demo())) == ["token_f1"]


def test_a_long_context_is_read_in_windows_and_the_most_certain_decides(tokenizer):
    """Windows overlap by half, cover all, fit, and leave the question whole."""
    words = " ".join(f"w{n}" for n in range(60))
    text = f"Text: {words}\nQuestion: which?"
    span = (6, 6 + len(words))
    example = Example("Answer.", text, "w1", id="1", labels=("w1", "w2"), context=span)
    encoder = Encoder(tokenizer, "plain", 80)
    measure = AnswerMeasure.of(encoder, [example, labelled(2)])
    windows, single = measure.windows
    assert len(windows) > 3 and len(single) == 1
    assert (measure.report.kept, measure.report.truncated) == (2, 1)
    assert measure.report.windows == len(windows) + 1 and "windows" in str(measure.report)
    whole = Encoder(tokenizer, "plain", 9999).encode(example).prompt_ids
    head, tail = len(tokenizer("Answer.\nText:").input_ids), tokenizer.decode(whole)[-20:]
    size = len(windows[0].prompt_ids)
    covered = set()
    for window in windows:
        assert len(window.prompt_ids) + 3 <= 80 and window.prompt_ids[:head] == whole[:head]
        assert tokenizer.decode(window.prompt_ids).endswith(tail)
        covered |= set(tokenizer.decode(window.prompt_ids).split())
    assert {f"w{n}" for n in range(60)} - covered == set() and size <= 80
    model, batcher = demo()
    (prediction, _) = measure.predict(model, batcher)
    ids = [encoder.label_ids(example.labels)] * len(windows)
    scores = score_labels(model, batcher, windows, ids)
    best = max(scores, key=lambda one: one.softmax(0).max())
    assert prediction.scores == pytest.approx(best.tolist(), abs=1e-4)
    assert prediction.text == example.labels[best.argmax()]


def test_the_most_certain_window_answers_in_free_text(tokenizer, monkeypatch):
    """By mean log-probability, whichever batch it comes in."""
    span = (0, 400)
    example = Example("Answer.", "a b c d " * 50 + "\nwhich?", "x", id="1", context=span)
    measure = AnswerMeasure.of(
        Encoder(tokenizer, "plain", 60), [example], ["token_f1"], max_new_tokens=5
    )
    (windows,) = measure.windows
    assert all(len(one.prompt_ids) <= 60 - 5 - 1 for one in windows) and len(windows) > 2
    word = tokenizer(" x", add_special_tokens=False).input_ids

    def answers(model, prompts, *rest):
        found = [(word, -0.1) if i == 1 else ([], -1.0) for i in range(len(prompts))]
        return [Answer(i, *one) for i, one in enumerate(found)]

    def scores(model, batcher, windows, labels, size):
        assert [one.prompt_ids for one in windows] == [measure.windows[0][1].prompt_ids]
        assert labels == [[word + [tokenizer.eos_token_id]]]
        return [torch.tensor([-0.25 * len(labels[0][0])])]

    monkeypatch.setattr("adept_llm.evaluation.answers.generate", answers)
    monkeypatch.setattr("adept_llm.evaluation.answers.score_labels", scores)
    (prediction,) = measure.predict(None, None)
    assert prediction.text == "x" and measure(None, None) == {"token_f1": 1.0, "loss": 0.25}


def test_training_keeps_the_answer_where_measuring_must_not_know_it(tokenizer):
    """Cut on both sides around the answer; question, target and EOS stay."""
    words = [f"w{n}" for n in range(80)]
    text = f"Text: {' '.join(words)}\nQuestion: which?"
    start = text.index("w70")
    example = Example(
        "Answer.", text, "w70", id="1", context=(6, text.index("\n")), focus=(start, start + 3)
    )
    encoded = Encoder(tokenizer, "plain", 70).encode(example)
    shown = tokenizer.decode(encoded.prompt_ids)
    assert "w70" in shown and "w5 " not in shown and shown.endswith("Question: which?\nAnswer:")
    assert "Answer.\nText:" in shown
    assert encoded.target_ids[-1] == tokenizer.eos_token_id and encoded.truncated > 0
    assert len(encoded.prompt_ids) + len(encoded.target_ids) <= 70
    first, *_ = Encoder(tokenizer, "plain", 70).encode_windows([example], 5)[0][0]
    assert "w70" not in tokenizer.decode(first.prompt_ids)


def test_predictions_are_written_one_a_line(tokenizer, tmp_path):
    """With what is needed to look into a mistake."""
    task = get_task("multirc")
    examples = load_split(task, "validation", FIXTURES / "multirc")
    measure = AnswerMeasure.of_task(Encoder(tokenizer, "plain", 200), task, examples)
    predictions = measure.predict(*demo())
    write_predictions(tmp_path / "predictions.jsonl", predictions)
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").open()]
    assert [row["id"] for row in rows] == [one.id for one in examples]
    assert rows[0].keys() == {"id", "prediction", "target", "group", "scores", "loss"}
    assert rows[0]["scores"].keys() == {"wrong", "right"}
    assert max(rows[0]["scores"], key=rows[0]["scores"].get) == rows[0]["prediction"]


def test_what_cannot_be_measured_is_refused(tokenizer):
    """Before a model is read."""
    encoder = Encoder(tokenizer, "plain", 60)
    with pytest.raises(InputError, match="runs programs .*--allow_code_execution"):
        AnswerMeasure.of(encoder, [labelled(1)], ["pass@1"])
    with pytest.raises(InputError, match="unknown metric 'bleu'"):
        AnswerMeasure.of(encoder, [labelled(1)], ["bleu"])
    with pytest.raises(InputError, match="no example is left"):
        AnswerMeasure.of(Encoder(tokenizer, "plain", 5), [labelled(1)])


def test_programs_want_a_sandbox_or_leave_to_do_without(tokenizer, monkeypatch):
    """Said before a model is read, in training and evaluation alike."""
    monkeypatch.setattr(sandbox, "no_sandbox", lambda: "bwrap is not installed")
    task = get_task("mbpp")
    rows = load_split(task, "validation", FIXTURES / "mbpp")
    encoder = Encoder(tokenizer, "plain", 200)
    for measure in (make_measure, measure_answers):
        with pytest.raises(InputError, match="--allow_unsandboxed_code"):
            measure(encoder, rows, task, 4, True)
        allowed = measure(encoder, rows, task, 4, True, True)
        assert allowed.baseline(rows).keys() == {"pass@1"}


def test_several_samples_are_predictions_of_one_example(tokenizer):
    """As pass@k needs them."""
    example = Example("Say.", "a", "b", id="1")
    encoder = Encoder(tokenizer, "plain", 60)
    measure = AnswerMeasure.of(encoder, [example], ["exact_match"], samples=3, temperature=1.0)
    predictions = measure.predict(*demo())
    assert [one.example for one in predictions] == [example] * 3
    for samples, temperature in ((3, 0.0), (1, 0.5), (0, 0.0)):
        with pytest.raises(InputError, match=f"{samples} samples at temperature"):
            AnswerMeasure.of(encoder, [example], samples=samples, temperature=temperature)


def test_dropped_examples_are_counted_and_left_out(tokenizer):
    """A metric must say over how many rows it is."""
    long = Example("Why? " * 90, "a", "no", id="long", labels=("no", "yes"))
    measure = AnswerMeasure.of(Encoder(tokenizer, "plain", 60), [labelled(1), long, labelled(2)])
    assert [one.id for one in measure.examples] == ["1", "2"]
    assert measure.report.dropped == 1 and len(measure.predict(*demo())) == 2


def test_no_prompt_at_all(tokenizer):
    """m = 0 is a method too."""
    measure = AnswerMeasure.of(Encoder(tokenizer, "plain", 60), [labelled(1), labelled(2)])
    packed, padded = measure(*demo(0, packed=True)), measure(*demo(0, packed=False))
    assert packed == pytest.approx(padded, rel=1e-5)


def test_own_answers_may_be_as_long_as_the_longest_right_one(tokenizer):
    """A fixed length would make exact match 0 for longer ones, and nobody would know why."""
    long = Example("Say.", "", "word " * 50 + "end", id="1")
    measure = measure_answers(Encoder(tokenizer, "plain", 400), [long])
    (ids,) = Encoder(tokenizer, "plain", 400).label_ids([long.target])
    assert measure.max_new_tokens == len(ids) > 32
    short = measure_answers(Encoder(tokenizer, "plain", 400), [Example("Say.", "", "b", id="1")])
    assert short.max_new_tokens == 32


def test_free_text_without_room_for_answers_is_measured_by_its_loss(tokenizer, monkeypatch):
    """Rows that can be trained on must not be refused for their length."""
    row = Example("", "word " * 20, "b", id="1")
    encoder = Encoder(tokenizer, "plain", 200)
    room = len(encoder.encode(row).prompt_ids) + 3
    said = []
    monkeypatch.setattr("adept_llm.evaluation.measure.log.info", lambda *line: said.append(line))
    measure = make_measure(Encoder(tokenizer, "plain", room), [row])
    assert measure.metrics == ("loss",) and "not measured at the end" in said[0][0]
    assert list(measure.at_end(*demo())) == ["loss"]
