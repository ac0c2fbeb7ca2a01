"""Finding and reading runs."""

import json

import pytest

from adept_llm.errors import InputError
from adept_llm.report.runs import Run, find_runs
from tests.report.written import content_of, run_of, write_run


def test_runs_are_found_at_any_depth_once_and_checkpoints_are_none(tmp_path):
    first = write_run(tmp_path / "a" / "b" / "run-1")
    second = write_run(tmp_path / "run-2", seed=2)
    write_run(first / "checkpoint-10", results=None)
    runs, unfinished = find_runs([tmp_path, first, tmp_path / "a" / ".." / "run-2"])
    assert [run.folder for run in runs] == [first, second]
    assert unfinished == []


def test_links_to_runs_are_followed_and_circles_end(tmp_path):
    """A page is often made of a folder of links to the runs that belong together."""
    run = write_run(tmp_path / "disk" / "deep" / "run-1")
    (chosen := tmp_path / "chosen").mkdir()
    (chosen / "one").symlink_to(run)
    (chosen / "same").symlink_to(run)
    (chosen / "all").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(tmp_path)
    (chosen / "gone").symlink_to(tmp_path / "nothing")
    runs, unfinished = find_runs([chosen])
    assert [one.folder for one in runs] == [chosen / "all" / "deep" / "run-1"]
    assert unfinished == []


def test_a_run_without_results_is_left_out_and_told(tmp_path):
    write_run(tmp_path / "done")
    write_run(tmp_path / "going", results=None)
    runs, unfinished = find_runs([tmp_path])
    assert [run.folder.name for run in runs] == ["done"]
    assert unfinished == [tmp_path / "going"]


def test_an_interrupted_run_is_counted_once_however_many_checkpoints_it_has(tmp_path):
    """Its own folder has no run.json before its end; each of its checkpoints has one."""
    write_run(tmp_path / "stopped" / "done")
    for step in (10, 20, 30):
        write_run(tmp_path / "stopped" / f"checkpoint-{step}", results=None)
    (tmp_path / "others" / "checkpoint-500").mkdir(parents=True)
    runs, unfinished = find_runs([tmp_path, tmp_path / "others" / ".." / "stopped"])
    assert [run.folder.name for run in runs] == ["done"]
    assert unfinished == [tmp_path / "stopped"]


def test_a_place_without_runs_is_refused_with_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "good")
    with pytest.raises(InputError, match="empty: holds no run"):
        find_runs([tmp_path / "good", tmp_path / "empty"])
    with pytest.raises(InputError, match="no such folder"):
        find_runs([tmp_path / "missing"])
    write_run(tmp_path / "going" / "one", results=None)
    with pytest.raises(InputError, match="none of the runs there is finished"):
        find_runs([tmp_path / "going"])


@pytest.mark.parametrize("file", ["run.json", "test.json"])
def test_a_damaged_file_is_named(tmp_path, file):
    folder = write_run(tmp_path / "run")
    (folder / file).write_text("{")
    with pytest.raises(InputError, match=file):
        find_runs([folder])


def test_missing_fields_are_none_and_names_say_so(tmp_path):
    """Of another program's run all but results may be missing."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"results": {"after": None, "steps": "many"}}))
    run = Run.read(folder)
    assert run is not None
    assert run.method == run.task == run.base == "(not named)"
    assert run.number("results", "steps") is None and run.number("results", "seconds") is None
    assert run.value("adapter", "method", "deeper") is None
    assert (run.log, run.test, run.validation, run.seeds) == ({}, {}, {}, (None, None))


def test_numbers_that_are_not_finite_count_as_missing(tmp_path):
    folder = write_run(
        tmp_path / "run",
        after={"accuracy": float("nan"), "loss": 0.5, "right": True},
        log={1: {"loss": float("inf")}, 2: {"loss": 1.0}},
        test={"accuracy": float("nan")},
    )
    run = Run.read(folder)
    assert run is not None
    assert run.validation == {"loss": 0.5} and run.test == {}
    assert run.logged("loss") == {2: 1.0}


def test_the_log_has_the_last_word_of_each_step_and_passes_over_torn_lines(tmp_path):
    folder = write_run(tmp_path / "run")
    lines = ['{"step": 2, "loss": 9}', '{"step": 0, "start_loss": 3}', '{"step": 2, "lo']
    lines += ['{"step": 2, "loss": 1, "note": "x"}', '{"step": 2, "eval_loss": 2}', "7"]
    (folder / "log.jsonl").write_text("\n".join(lines))
    run = Run.read(folder)
    assert run is not None
    assert run.log == {0: {"start_loss": 3}, 2: {"loss": 1, "eval_loss": 2}}
    assert run.measured("loss") == {0: 3.0, 2: 2.0}
    assert run.logged("loss") == {2: 1.0}


def test_tasks_are_named_by_task_file_and_shots():
    assert run_of(task="rte").task == "rte"
    arguments = content_of()["arguments"]
    own = run_of(arguments={**arguments, "data": {"train_file": "here/mine.jsonl"}})
    few = run_of(arguments={**arguments, "data": {"task": "rte", "k_shot": 16}})
    assert (own.task, few.task) == ("mine", "rte, 16 shots")
