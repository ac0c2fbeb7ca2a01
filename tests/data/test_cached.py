"""Stored rows are those that are encoded in memory, found again, and never another set's."""

import json
import logging
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from adept_llm.data import Encoder, describe_answers, fingerprint, read_instructions
from adept_llm.data import cached as module
from adept_llm.data.cached import ABOUT_FILE, ROWS_FILE, encode_source
from adept_llm.data.instruction_files import OwnRows
from adept_llm.data.source import each
from adept_llm.errors import InputError
from adept_llm.tasks import get_task, load_split
from adept_llm.tasks.loading import TaskRows
from adept_llm.training.checkpoints.facts import examples_fingerprint

ROWS = [
    {"instruction": "Is this a joy?", "input": "a lovely film " * (n % 7), "output": f"it is {n}"}
    for n in range(40)
]
TALKS = [
    {
        "messages": [
            {"role": "user", "content": f"what is {n}?"},
            {"role": "assistant", "content": "a joy"},
            {"role": "user", "content": "and no film"},
            {"role": "assistant", "content": f"dull {n}"},
        ]
    }
    for n in range(30)
]
LABELS = [{"prompt": f"film {n}", "completion": ("good", "bad")[n % 2]} for n in range(30)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, for sets of whatever size."""
    folder = tmp_path / "cache"
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", folder)
    monkeypatch.setattr(module, "LEAST_ROWS", 1)
    return folder


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def source(tmp_path):
    return OwnRows(written(tmp_path / "train.jsonl", ROWS))


def folders(cache):
    return [path for path in (cache / "adept_llm").iterdir() if path.is_dir()]


def unread(monkeypatch):
    """From here on a source that is opened fails the test."""
    monkeypatch.setattr(OwnRows, "open", lambda self: pytest.fail("rows were read again"))


@pytest.mark.parametrize(
    "rows, template, max_length, loss_on",
    [
        (ROWS, "plain", 256, "target"),
        (ROWS, "plain", 32, "target"),
        (ROWS, "chat", 40, "all"),
        (TALKS, "chat", 256, "assistant"),
        (LABELS, "alpaca", 256, "target"),
    ],
)
def test_every_field_is_that_of_memory(
    tmp_path, monkeypatch, chatml, rows, template, max_length, loss_on
):
    """Shortened, dropped and passed-over tokens, labels and fingerprints, written and found."""
    source = OwnRows(written(tmp_path / "train.jsonl", rows))
    examples = list(each(source.open()))
    encoder = Encoder(chatml, template, max_length, loss_on)
    expected, report = encoder.encode_all(examples)
    if max_length < 50:
        assert report.truncated or report.dropped
    made = encode_source(encoder, source)
    monkeypatch.setattr(module, "LEAST_ROWS", 1000)
    in_memory = encode_source(encoder, replace(source, limit=99))  # which is not found
    unread(monkeypatch)
    for stored in (made, in_memory, encode_source(encoder, source)):
        assert list(stored) == expected and stored[-1] == expected[-1]
        assert stored[3:1:-1] == expected[3:1:-1]
        assert list(stored.lengths) == [len(e.prompt_ids) + len(e.target_ids) for e in expected]
        about = stored.about
        assert about.report == report
        assert about.texts == fingerprint(examples)
        assert about.ids == examples_fingerprint(stored) == examples_fingerprint(expected)
        assert about.largest_id == max(max(e.prompt_ids + e.target_ids) for e in expected)
        assert (about.labels, about.alike) == (examples[0].labels, True)
        assert about.answers == describe_answers(examples)


@pytest.mark.parametrize("name", ["winogrande", "newsqa"])
def test_rows_of_a_task(byte_level, name):
    """Labels that differ from row to row, and rows that the task passes over."""
    folder = Path(__file__).parents[1] / "tasks" / "fixtures" / name
    source = TaskRows(get_task(name), "train", folder)
    examples = load_split(get_task(name), "train", folder)
    encoder = Encoder(byte_level, "plain", 256)
    for _ in range(2):
        stored = encode_source(encoder, source)
        assert list(stored) == encoder.encode_all(examples)[0]
        assert stored.about.answers == describe_answers(examples)
        assert stored.about.alike == (len({one.labels for one in examples}) == 1)


def test_a_task_of_ones_own_is_not_kept(byte_level, cache):
    """What its functions do is not known, so it could be taken for another."""
    task = replace(get_task("sst2"), instruction="Good?")
    folder = Path(__file__).parents[1] / "tasks" / "fixtures" / "sst2"
    assert len(encode_source(Encoder(byte_level, "plain", 256), TaskRows(task, "train", folder)))
    assert not cache.exists()


def test_several_processes_give_the_same_in_order(tmp_path, monkeypatch, byte_level):
    rows = [{**ROWS[n % 40], "output": f"it is {n}"} for n in range(2500)]
    source = OwnRows(written(tmp_path / "train.jsonl", rows))
    encoder = Encoder(byte_level, "plain", 64)
    expected, report = encoder.encode_all(each(source.open()))
    monkeypatch.setattr("adept_llm.data.processes.LEAST_TASKS", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(Encoder, "encode_part", lambda *a: pytest.fail("not in this process"))
    stored = encode_source(encoder, source)
    assert list(stored) == expected and stored.about.report == report
    assert stored.about.texts == fingerprint(each(source.open()))


def test_a_broken_row_is_told_by_whichever_process(tmp_path, monkeypatch, byte_level, cache):
    """The first of the file, although a later one is come upon earlier."""
    rows = [dict(ROWS[0]) for _ in range(2500)]
    del rows[1999]["output"], rows[2100]["instruction"]
    source = OwnRows(written(tmp_path / "train.jsonl", rows), labels=())
    monkeypatch.setattr("adept_llm.data.processes.LEAST_TASKS", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    with pytest.raises(InputError, match=r"train\.jsonl:2000: field 'output' is missing"):
        encode_source(Encoder(byte_level, "plain", 64), source)
    assert not folders(cache)


def test_what_decides_the_rows_has_a_folder_of_its_own(
    tmp_path, source, cache, byte_level, metaspace, chatml
):
    """Else a run would train on another's rows, without a word."""
    encoder = Encoder(chatml, "plain", 256)
    other_chat = Encoder(chatml, "chat", 256)
    encode_source(encoder, source)
    others = [
        (replace(encoder, max_length=255), source),
        (replace(encoder, template="alpaca"), source),
        (replace(encoder, loss_on="all"), source),
        (other_chat, source),
        (Encoder(byte_level, "plain", 256), source),  # differs in BOS alone
        (Encoder(metaspace, "plain", 256), source),
        (encoder, replace(source, limit=5)),
        (encoder, replace(source, limit=5, seed=1)),
        (encoder, replace(source, labels=())),
        (encoder, OwnRows(written(tmp_path / "other.jsonl", ROWS))),  # its rows have other ids
        (encoder, OwnRows(written(tmp_path / "changed.jsonl", ROWS[:-1]))),
    ]
    for count, (one, rows) in enumerate(others, 2):
        assert list(encode_source(one, rows)) == one.encode_all(each(rows.open()))[0]
        assert len(folders(cache)) == count
    template = chatml.chat_template
    try:
        chatml.chat_template = template.replace("assistant", "helper")
        encode_source(Encoder(chatml, "chat", 256), source)
    finally:
        chatml.chat_template = template
    assert len(folders(cache)) == count + 1


def test_a_changed_file_is_read_again_and_a_moved_one_is_not(
    tmp_path, source, monkeypatch, byte_level
):
    """Neither name of folder nor time of change says what is in a file."""
    encoder = Encoder(byte_level, "plain", 64)
    first = list(encode_source(encoder, source))
    before = source.path.stat()
    text = source.path.read_text()
    source.path.write_text(text.replace("it is 7", "it is 8"))
    os.utime(source.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = list(encode_source(encoder, source))
    assert [n for n in range(40) if first[n] != changed[n]] == [7]
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / source.path.name
    moved.write_text(text)
    unread(monkeypatch)
    assert list(encode_source(encoder, OwnRows(moved))) == first


def test_the_seed_of_a_run_that_draws_no_rows_changes_nothing(source, byte_level, monkeypatch):
    """A sweep over seeds tokenises once."""
    encoder = Encoder(byte_level, "plain", 64)
    first = list(encode_source(encoder, source))
    task = TaskRows(get_task("sst2"), "train", Path(__file__).parents[1] / "tasks/fixtures/sst2")
    assert task.key() == replace(task, seed=1).key()
    assert replace(task, shots=4).key() != replace(task, shots=4, seed=1).key()
    assert replace(task, limit=4).key() != replace(task, limit=4, seed=1).key()
    unread(monkeypatch)
    assert list(encode_source(encoder, replace(source, seed=1))) == first


def cut(folder):
    path = folder / ROWS_FILE
    path.write_bytes(path.read_bytes()[:-40])


def flip(folder):
    path = folder / ROWS_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty_json(folder):
    (folder / ABOUT_FILE).write_text("{}")


def no_about(folder):
    (folder / ABOUT_FILE).unlink()


@pytest.mark.parametrize("damage", [cut, flip, empty_json, no_about])
def test_a_damaged_folder_is_made_anew(source, cache, byte_level, caplog, damage):
    encoder = Encoder(byte_level, "plain", 64)
    first = list(encode_source(encoder, source))
    (folder,) = folders(cache)
    damage(folder)
    assert list(encode_source(encoder, source)) == first
    assert "is damaged" in caplog.text
    caplog.clear()
    assert list(encode_source(encoder, source)) == first
    assert not caplog.text
    assert folders(cache) == [folder]


def test_what_a_killed_run_left_is_cleared(source, cache, byte_level):
    encoder = Encoder(byte_level, "plain", 64)
    encode_source(encoder, source)
    (folder,) = folders(cache)
    left = folder.with_name(f".{folder.name}.unfinished-1")
    folder.rename(left)
    encode_source(encoder, source)
    assert folders(cache) == [folder]


def test_without_a_place_to_write_rows_stay_in_memory(source, cache, byte_level, caplog):
    """Told once; a full disk must not stop a run."""
    cache.write_text("a file where the folder would be")
    stored = encode_source(Encoder(byte_level, "plain", 64), source)
    assert len(stored) == 40
    (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "kept in memory" in line and str(cache) in line


def test_a_disk_that_fills_up_leaves_nothing(source, cache, byte_level, caplog, monkeypatch):
    def fill(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_checksum", fill)  # behind the rows, before the last file
    assert len(encode_source(Encoder(byte_level, "plain", 64), source)) == 40
    assert "No space left" in caplog.text and not folders(cache)


def test_small_sets_and_switched_off_caches_write_nothing(source, cache, byte_level, monkeypatch):
    import datasets

    encoder = Encoder(byte_level, "plain", 64)
    datasets.disable_caching()
    try:
        encode_source(encoder, source)
    finally:
        datasets.enable_caching()
    monkeypatch.setattr(module, "LEAST_ROWS", 41)
    encode_source(encoder, source)
    assert not cache.exists()


def test_two_at_once_tokenise_once(source, byte_level, monkeypatch, caplog):
    """The second waits for the first, and reads what it wrote."""
    caplog.set_level(logging.INFO)
    began, go_on, times = threading.Event(), threading.Event(), []
    encode = module.write_encoded

    def slowly(*given):
        times.append(1)
        began.set()
        assert go_on.wait(30)
        return encode(*given)

    monkeypatch.setattr(module, "write_encoded", slowly)
    found = []

    def one():
        found.append(list(encode_source(Encoder(byte_level, "plain", 64), source)))

    threads = [threading.Thread(target=one) for _ in range(2)]
    threads[0].start()
    assert began.wait(30)
    threads[1].start()
    while "waiting for another process" not in caplog.text:
        assert threads[1].is_alive()
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(times) == 1 and len(found) == 2 and found[0] == found[1]


def test_nothing_that_fits_is_refused(source, byte_level, cache):
    with pytest.raises(InputError, match="no example is left with max_length 4"):
        encode_source(Encoder(byte_level, "plain", 4), source)
    assert not folders(cache)


def test_instructions_are_those_of_memory(source):
    """Labels are found by `OwnRows` as by whoever reads the file whole."""
    assert list(each(source.open())) == read_instructions(source.path)
