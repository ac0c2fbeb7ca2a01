"""The file of published numbers."""

import pytest

from adept_llm.errors import InputError
from adept_llm.report.groups import Comparison
from adept_llm.report.published import FILE, of_tasks, read_published
from adept_llm.report.sections.published import published_section
from tests.report.written import run_of

ENTRIES = """
- {method: adept, task: sst2, metric: accuracy, value: 94.2, base: T5, source: "A, Table 1"}
- {method: other, task: rte, metric: accuracy, value: 0.71, base: T5, source: "https://x.org/1 B"}
- {method: other, task: sst2, metric: accuracy, value: -0.5, base: T5, source: <b>}
"""


def written(tmp_path, text):
    path = tmp_path / "published.yaml"
    path.write_text(text)
    return path


def test_entries_are_read_and_shares_become_percent(tmp_path):
    found = read_published(written(tmp_path, ENTRIES))
    assert [one.percent for one in found] == pytest.approx([94.2, 71, -50])
    assert [one.task for one in of_tasks(found, ["rte", "sst2"])] == ["rte", "sst2", "sst2"]
    assert of_tasks(found, ["cola"]) == []


def test_without_the_file_there_are_none(tmp_path):
    assert read_published(tmp_path / "none.yaml") == []
    assert read_published(written(tmp_path, "")) == []


def test_the_file_that_is_shipped_can_be_read():
    assert isinstance(read_published(FILE), list)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b", "expected a list"),
        ("- 3", "entry 1 is no mapping"),
        (ENTRIES + "- {method: x, task: y}", "entry 4 has no metric"),
        (ENTRIES.replace("94.2", "high"), "entry 1: value 'high'"),
        (ENTRIES.replace("94.2", ".nan"), "entry 1: value nan"),
        ("- [", "line"),
    ],
)
def test_what_is_malformed_is_named(tmp_path, text, words):
    with pytest.raises(InputError, match=words) as error:
        read_published(written(tmp_path, text))
    assert "\n" not in str(error.value)


def test_ours_stands_beside_the_same_method_task_and_metric(tmp_path):
    entries = read_published(written(tmp_path, ENTRIES))
    runs = [run_of(seed=seed, test={"accuracy": value}) for seed, value in ((1, 0.8), (2, 0.9))]
    html = published_section(Comparison.of(runs), entries)
    assert html is not None
    assert "<td>94.2</td>" in html and "<td>85.0 ± 7.1</td><td>test</td><td>base</td>" in html
    assert "&lt;b&gt;" in html and "71" not in html
    assert html.count("±") == 1  # the other method has no run of ours
    assert published_section(Comparison.of([run_of(task="cola")]), entries) is None
    linked = published_section(Comparison.of([run_of(task="rte")]), entries)
    assert linked is not None and 'href="https://x.org/1"' in linked
