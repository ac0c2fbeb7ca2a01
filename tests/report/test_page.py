"""The page as a whole: well-formed, escaped, alone, and honest about what is missing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from adept_llm.report.html import VOID
from adept_llm.report.page import page
from adept_llm.report.published import Published
from adept_llm.report.runs import find_runs
from tests.report.written import GRADUAL, logged, write_run

HOSTILE = "<script>alert('x')</script>"


class Tree(HTMLParser):
    """Checks that elements are closed in order, and gathers what there is."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.ids = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    def text(self):
        return " ".join(self.texts)


def accuracies(top):
    parts = {step: 1 / (1 + step) for step in (0, 10, 20)}
    return {step: {"accuracy": top - 0.3 * a, "loss": 2 * a} for step, a in parts.items()}


@pytest.fixture
def runs(tmp_path):
    """Two methods, two rates, two seeds, one of another program's runs, all with hostile texts."""
    wrong = {"id": HOSTILE, "prediction": HOSTILE, "target": f"{HOSTILE}!", "scores": {HOSTILE: -1}}
    for method in ("adept", HOSTILE):
        for rate in (0.1, 0.3):
            for seed in (1, 2):
                write_run(
                    tmp_path / f"{method[0] == '<'}-{rate}-{seed}", method=method, seed=seed,
                    rates=(rate, 0.03), log=logged(GRADUAL, accuracies(0.7 + rate / 10)),
                    test={"accuracy": 0.5 + rate}, after={"accuracy": 0.6, "loss": 1 - rate},
                    predictions=[wrong] * 12, task=HOSTILE,
                )  # fmt: skip
    write_run(tmp_path / "zero", method="zero", task=HOSTILE, results={"after": {}}, arguments={})
    return find_runs([tmp_path])


def test_the_page_is_well_formed_and_its_ids_are_its_own(runs):
    tree = Tree(page(*runs))
    assert len(tree.ids) == len(set(tree.ids))
    targets = {a["href"][1:] for _, a in tree.tags if a.get("href", "").startswith("#")}
    assert targets and targets <= set(tree.ids)
    named = {a["aria-labelledby"] for _, a in tree.tags if "aria-labelledby" in a}
    assert named <= set(tree.ids)


def test_hostile_text_is_text(runs):
    published = [Published("adept", HOSTILE, "accuracy", 90.0, HOSTILE, HOSTILE)]
    html = page(*runs, published=published)
    tree = Tree(html)
    assert [tag for tag, _ in tree.tags].count("script") == 1
    assert "alert(" not in re.sub(r"&lt;script&gt;alert\(&#x27;x&#x27;\)", "", html)
    assert tree.text().count(HOSTILE) > 30


def test_nothing_is_loaded_from_elsewhere(runs):
    html = page(*runs, published=[Published("a", "b", "c", 1.0, "d", "https://x.org")])
    tree = Tree(html)
    loading = ("src", "srcset", "data", "action", "poster")
    assert not [a for _, a in tree.tags if set(a) & set(loading)]
    links = [value for _, a in tree.tags for name, value in a.items() if name.endswith("href")]
    assert links and all(value.startswith("#") for value in links)
    assert "http" not in html and "@import" not in html
    assert all(value.startswith("#") for value in re.findall(r"url\(([^)]*)\)", html))


def test_tables_have_captions_and_headers_and_plots_have_labels(runs):
    tree = Tree(page(*runs))
    names = [tag for tag, _ in tree.tags]
    assert names.count("table") == names.count("caption") >= 4
    heads = [a for tag, a in tree.tags if tag == "th"]
    assert heads and all(a.get("scope") in ("row", "col") for a in heads)
    for tag, a in tree.tags:
        if tag == "svg":
            assert a.get("aria-label") or a.get("aria-hidden") == "true"
    boxes = [a for tag, a in tree.tags if a.get("class") == "wide"]
    assert len(boxes) == names.count("table") and all(a["tabindex"] == "0" for a in boxes)


def test_what_is_missing_is_an_empty_cell(runs):
    """The run of another program has no numbers at all: its cells are empty, none is 0 or nan."""
    html = page(*runs)
    (row,) = re.findall(
        r'<tr><th scope="row"(?: class="new")?>zero</th>(<td>\(not named\).*?)</tr>', html
    )
    cells = re.findall(r"<td>(.*?)</td>", row)
    assert cells[:2] == ["(not named)", "1"] and set(cells[2:]) == {""}
    assert not re.search(r"\b(nan|None|inf)\b", Tree(html).text())


def test_the_rule_of_convergence_stands_on_the_page(runs):
    from adept_llm.report.convergence import RULE

    assert RULE in Tree(page(*runs)).text()


def test_the_choice_and_its_edge_are_told(runs):
    text = Tree(page(*runs)).text()
    assert "⚠ highest tried" in text and "2 other groups are the search" in text
    assert "80.0 ± 0.0" in text and "60.0 ± 0.0" not in text  # rate 0.3 has the lower loss


def test_levels_may_be_given(runs):
    found, unfinished = runs
    assert "66%" in Tree(page(found, unfinished, levels=[0.66])).text()


def test_runs_without_logs_adapters_or_predictions_make_a_page_of_results_alone(tmp_path):
    write_run(tmp_path / "run")
    html = page(*find_runs([tmp_path]))
    tree = Tree(html)
    assert [a["id"] for tag, a in tree.tags if tag == "section"] == ["results"]
    assert "80.0" in tree.text()


def test_the_page_is_the_same_each_time(runs):
    assert page(*runs) == page(*runs)


def test_the_least_run_of_the_documentation_stands_in_the_table(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
    least = json.loads(re.search(r"the tables is\n\n(.*?)\n\n", text, re.S)[1])
    (tmp_path / "run.json").write_text(json.dumps(least))
    shown = Tree(page(*find_runs([tmp_path]))).text()
    assert "lora" in shown and "sst2 (accuracy)" in shown and "90.0" in shown
