"""Splits from a folder and from the hub."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from adept_llm.data import fingerprint
from adept_llm.errors import InputError
from adept_llm.tasks.loading import load_hub_split, load_split
from adept_llm.tasks.registry import TASKS, get_task
from adept_llm.tasks.splits import NATIVE

HUB = get_task("sst2")
SST2 = dataclasses.replace(HUB, splits=NATIVE)  # every row, so that one can count
ROWS = [{"sentence": f"film {n} ", "label": n % 2, "idx": n} for n in range(20)]
FIXTURES = Path(__file__).parent / "fixtures"
REAL = Path(__file__).parents[3] / "shared" / "data" / "sst2"


@pytest.fixture
def folder(tmp_path):
    """A data folder as a user makes it."""
    text = "\n".join(json.dumps(row) for row in ROWS)
    (tmp_path / "train.jsonl").write_text(text)
    return tmp_path


def test_a_folder_is_read(folder):
    """In the hub's own columns, more of them than needed included."""
    examples = load_split(SST2, "train", folder)
    assert len(examples) == 20
    assert examples[1].input == "film 1 " and examples[1].target == "positive"
    assert examples[1].id == "train.jsonl:2"


def test_parquet_gives_the_same(folder):
    """Ids aside."""
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "validation.parquet")
    texts = [(one.input, one.target) for one in load_split(SST2, "validation", folder)]
    assert texts == [(one.input, one.target) for one in load_split(SST2, "train", folder)]


def test_the_limit_samples_by_seed(folder):
    """The same rows for the same seed, in their order; the first rows would be a biased sample."""
    some = load_split(SST2, "train", folder, limit=8, seed=1)
    assert some == load_split(SST2, "train", folder, limit=8, seed=1)
    assert some != load_split(SST2, "train", folder, limit=8, seed=2)
    every = load_split(SST2, "train", folder)
    assert some == [example for example in every if example in some] and len(some) == 8
    assert some != every[:8]
    assert load_split(SST2, "train", folder, limit=99) == every


@pytest.mark.parametrize(
    "split, options, message",
    [
        ("dev", {}, "sst2 has no labelled 'dev' split; it has: train, validation, test"),
        ("validation", {}, "has neither validation.jsonl nor validation.parquet; it has: train"),
        ("train", {"limit": 0}, "limit of rows must be at least 1"),
        ("train", {"shots": 21}, "k_shot: 21 examples of 20"),
        ("train", {"shots": 0}, "k_shot: 0 examples"),
    ],
)
def test_bad_requests(folder, split, options, message):
    """Name what there is."""
    with pytest.raises(InputError, match=message):
        load_split(SST2, split, folder, **options)


def test_a_missing_folder(tmp_path):
    """Is named."""
    with pytest.raises(InputError, match="--data_dir .*gone: there is no such folder"):
        load_split(SST2, "train", tmp_path / "gone")


@pytest.mark.parametrize(
    "row, message",
    [
        ({"sentence": "a"}, "needs column 'label'; columns there: sentence"),
        ({"sentence": "a", "label": 3}, r"'label' is 3; known: 0 \(negative\), 1 \(positive\)"),
        ({"sentence": "a", "label": -1}, "'label' is -1"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(folder, row, message):
    """Also far down."""
    with (folder / "train.jsonl").open("a") as file:
        file.write("\n" + json.dumps(row))
    with pytest.raises(InputError, match=rf"train\.jsonl:21: .*{message}"):
        load_split(SST2, "train", folder)


@pytest.mark.parametrize("seed", range(3))
def test_a_missing_column_is_told_of_the_first_row_that_lacks_it(tmp_path, seed):
    """Not of one that the sample happens upon: the user looks there for what is special."""
    rows = [{"text": "x", "label": 0}] * 9
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"train\.jsonl:1: task sst2 needs column 'sentence'"):
        load_split(HUB, "train", tmp_path, limit=3, seed=seed)


def test_the_hub_is_read_at_the_pinned_revision(monkeypatch):
    """An unpinned data set could change between two runs of one table."""
    import datasets

    asked = {}

    def load(path, config, split, revision):
        asked.update(path=path, config=config, split=split, revision=revision)
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets, "load_dataset", load)
    examples = load_split(SST2, "validation", limit=5, seed=3)
    assert asked == {
        "path": "nyu-mll/glue",
        "config": "sst2",
        "split": "validation",
        "revision": SST2.revision,
    }
    numbers = [int(one.id.removeprefix("sst2/validation/")) for one in examples]
    assert [one.input for one in examples] == [ROWS[n]["sentence"] for n in numbers]
    assert len(numbers) == 5


def test_an_unreachable_hub_names_the_way_out(monkeypatch):
    """At once: half a minute of retries and a page of traceback say less."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        InputError, match=r"nyu-mll/glue .*--data_dir D with D/train\.jsonl"
    ) as error:
        load_split(SST2, "train")
    assert "\n" not in str(error.value)


def test_the_package_imports_without_the_heavy_libraries():
    """The command line must answer --help at once."""
    heavy = "torch transformers datasets pandas pyarrow numpy"
    code = f"import sys, adept_llm.tasks; print(*set('{heavy}'.split()) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_a_large_task_tests_on_validation_and_holds_training_rows_back(folder):
    """No row may be in two splits, or validation would measure what was learnt."""
    (folder / "validation.jsonl").write_text(json.dumps({"sentence": "unseen", "label": 1}))
    train, validation = (load_split(HUB, name, folder) for name in ("train", "validation"))
    assert (len(train), len(validation)) == (16, 4)
    assert {one.id for one in train + validation} == {f"train.jsonl:{n}" for n in range(1, 21)}
    assert [one.input for one in load_split(HUB, "test", folder)] == ["unseen"]
    assert load_hub_split(HUB, "train", folder) == load_split(SST2, "train", folder)


def test_too_few_rows_to_hold_any_back(folder):
    """Say which rows and what for."""
    (folder / "train.jsonl").write_text(json.dumps(ROWS[0]))
    with pytest.raises(
        InputError, match=r"1 rows leave none for validation, which is train \(held"
    ):
        load_split(HUB, "validation", folder)


def test_rows_without_an_answer_are_passed_over(tmp_path):
    """And a split of nothing else is refused."""
    row = {"context": "a b", "question": "what?", "answers": []}
    record = dataclasses.replace(get_task("newsqa"), splits=NATIVE)
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match=r"train\.jsonl: none of 1 rows can be used"):
        load_split(record, "train", tmp_path)
    (tmp_path / "train.jsonl").write_text(
        f"{json.dumps(row)}\n{json.dumps(row | {'answers': ['b', 'a']})}"
    )
    (one,) = load_split(record, "train", tmp_path)
    assert (one.id, one.target, one.answers) == ("train.jsonl:2", "b", ("b", "a"))


@pytest.mark.parametrize("name", [name for name, one in TASKS.items() if one.keep])
def test_a_row_without_a_column_is_named_where_rows_may_be_passed_over(name, tmp_path):
    """Also far down it is a line, not the KeyError of what decides whether to pass it over."""
    text = (FIXTURES / name / "train.jsonl").read_text().splitlines()[0]
    (tmp_path / "train.jsonl").write_text(f'{text}\n{{"key": "1"}}\n')
    task = dataclasses.replace(get_task(name), splits=NATIVE)
    with pytest.raises(InputError, match=rf"train\.jsonl:2: task {name} needs column"):
        load_split(task, "train", tmp_path)


@pytest.mark.parametrize("name", ["nq", "record"])
@pytest.mark.parametrize("answers", ["Paris", {"text": ["Paris"]}])
def test_answers_that_are_no_list_are_refused(name, answers, tmp_path):
    """Of a string its first character was learnt, without a word."""
    row = json.loads((FIXTURES / name / "train.jsonl").read_text().splitlines()[0])
    (tmp_path / "train.jsonl").write_text(json.dumps(row | {"answers": answers}))
    task = dataclasses.replace(get_task(name), splits=NATIVE)
    with pytest.raises(InputError, match=rf"train\.jsonl:1: .*{name}.*answers must be a list"):
        load_split(task, "train", tmp_path)


def test_the_fingerprint_is_of_the_content(folder):
    """It tells data sets apart, wherever they were read from."""
    every = load_split(SST2, "train", folder)
    renamed = [dataclasses.replace(one, id=f"hub/{n}") for n, one in enumerate(every)]
    assert fingerprint(every) == fingerprint(renamed)
    assert len(fingerprint(every)) == 12
    changed = [dataclasses.replace(every[0], target="positive"), *every[1:]]
    assert len({fingerprint(every), fingerprint(every[::-1]), fingerprint(changed)}) == 3


def test_the_real_rows_fit():
    """As the hub has them."""
    if not REAL.is_dir():
        pytest.skip(f"needs {REAL}")
    examples = load_split(HUB, "test", REAL)
    assert len(examples) == 872
    assert {one.target for one in examples} == {"negative", "positive"}
