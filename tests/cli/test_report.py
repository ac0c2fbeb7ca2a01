"""adept-llm report: each form of output, and input that cannot be used."""

import sys

import pytest

from adept_llm.cli.main import main
from tests.report.written import write_run


@pytest.fixture
def runs(tmp_path):
    for seed in (1, 2):
        write_run(tmp_path / "runs" / f"run-{seed}", seed=seed)
    write_run(tmp_path / "runs" / "going", results=None)
    return tmp_path / "runs"


def call(*argv):
    return main(["report", *map(str, argv)])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("page.html", "<caption>Methods by tasks</caption>"),
        ("table.md", "| adept | 80.0 ± 0.0 |"),
        ("table.tex", r"adept & 80.0\,$\pm$\,0.0 \\"),
        ("groups.csv", "sst2,adept,yes,0.3,0.03,validation,accuracy,0.8,0,2"),
    ],
)
def test_the_suffix_says_what_is_written(runs, tmp_path, capsys, name, words):
    assert call(runs, "--output", tmp_path / name) == 0
    assert words in (tmp_path / name).read_text()
    assert capsys.readouterr().out == f"{tmp_path / name}: 2 runs, 1 unfinished left out\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["RUNS", "--output", "OUT/page.pdf"], "page.pdf has an unknown suffix; give one of .html"),
        (["RUNS", "--output", "OUT/none/page.html"], "there is no folder"),
        (["OUT/none", "--output", "OUT/page.html"], "none: there is no such folder"),
        (["OUT/empty", "--output", "OUT/page.html"], "empty: holds no run"),
        (["RUNS"], "--output"),
        (["--output", "OUT/page.html"], "RUN"),
        (["RUNS", "--output", "OUT/page.html", "--levels", "high"], "--levels"),
        (["RUNS", "--outputs", "OUT/page.html"], "--output"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(runs, tmp_path, capsys, argv, words):
    (tmp_path / "empty").mkdir()
    places = {"RUNS": str(runs), "OUT": str(tmp_path)}
    given = [word.replace("OUT", places["OUT"]).replace("RUNS", places["RUNS"]) for word in argv]
    assert call(*given) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and words in err, err
    assert not list(tmp_path.glob("page.*"))


def test_without_matplotlib_a_page_is_refused_and_a_table_written(
    runs, tmp_path, capsys, monkeypatch
):
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert call(runs, "--output", tmp_path / "page.html") == 2
    err = capsys.readouterr().err
    assert "adept-llm[report]" in err and err.count("\n") == 1
    assert call(runs, "--output", tmp_path / "table.md") == 0
