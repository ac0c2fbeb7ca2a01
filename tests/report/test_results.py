"""The table of results, and its forms as text."""

import csv
import io
import re
import shutil
import subprocess

import pytest

from adept_llm.report.groups import Comparison
from adept_llm.report.results import results, shown
from adept_llm.report.text import latex, latex_text, long_csv, markdown
from tests.report.written import SETTING, run_of


def compare(*runs):
    return Comparison.of(runs)


def measured(method, *values, test=True, task="sst2", **given):
    """A run for each value."""
    return [
        run_of(
            method=method, seed=seed, task=task,
            after={"accuracy": 0.1 if test else value, "loss": 0.5},
            test={"accuracy": value} if test else None, **given,
        )
        for seed, value in enumerate(values, 1)
    ]  # fmt: skip


def test_the_test_split_is_shown_where_it_was_measured_else_validation():
    table = results(compare(*measured("adept", 0.8, 0.9), *measured("dept", 0.7, test=False)))
    adept, dept = (table.cells[method, SETTING] for method in ("adept", "dept"))
    assert (adept.split, adept.spread.mean) == ("test", pytest.approx(0.85))
    assert (dept.split, dept.spread.mean) == ("validation", 0.7)


def test_the_best_is_marked_among_cells_of_one_split():
    runs = [*measured("adept", 0.8), *measured("dept", 0.9), *measured("dpt", 0.9, test=False)]
    cells = results(compare(*runs)).cells
    assert [cells[m, SETTING].best for m in ("adept", "dept", "dpt")] == [False, True, False]
    alone = results(compare(*measured("adept", 0.8))).cells
    assert not alone["adept", SETTING].best


def test_of_losses_the_lowest_is_the_best():
    runs = [run_of(method=m, after={"loss": loss}) for m, loss in (("adept", 1.0), ("dept", 2.0))]
    cells = results(compare(*runs)).cells
    assert [cells[m, SETTING].best for m in ("adept", "dept")] == [True, False]
    assert shown(1.23456, "loss") == "1.235" and shown(0.87654, "accuracy") == "87.7"


def test_an_average_is_of_methods_that_have_all_tasks_on_one_split():
    whole = [*measured("adept", 0.8), *measured("adept", 0.6, task="rte")]
    part = measured("dept", 0.9)
    assert results(compare(*whole, *part)).averages == {"adept": pytest.approx(0.7)}
    mixed = measured("dept", 0.9, test=False)
    assert results(compare(*whole, *mixed)).averages == {}
    assert results(compare(*part)).averages == {}


def test_markdown_has_the_numbers_and_escapes_names():
    text = markdown(compare(*measured("a|b_c", 0.8, 0.9), *measured("dept", 0.7, test=False)))
    lines = text.splitlines()
    assert lines[:2] == ["| method | sst2 (accuracy) |", "| --- | ---: |"]
    assert lines[2] == r"| a\|b\_c | 85.0 ± 7.1 |"  # 0.05 * sqrt(2) = 0.0707
    assert lines[3] == r"| dept | 70.0\* |"
    assert "over seeds" in lines[-1] and "* on the validation split" in lines[-1].replace("\\", "")


def test_the_number_of_seeds_is_told_where_it_is_one():
    even = compare(*measured("adept", 0.8, 0.9), *measured("dept", 0.7, 0.6))
    assert "over 2 seeds" in markdown(even) and "over 2 seeds" in latex(even)
    assert results(even).seeds == 2
    assert results(compare(*measured("adept", 0.8, 0.9), *measured("dept", 0.7))).seeds is None


def test_latex_escapes_what_latex_would_read():
    hostile = r"50%_of $x^2$ & {a}\b #1 ~ <|"
    escaped = latex_text(hostile)
    # each special character stands behind a backslash, or is part of a command with {}
    left = re.sub(r"\\text[a-z]+\{\}|\\[{}$&#_%]", "", escaped)
    assert not set(left) & set(r"\{}$&#_%~^<>|"), escaped
    text = latex(compare(*measured("x_y", 0.8, 0.9), *measured("dept", 0.7)))
    assert r"x\_y & \textbf{85.0\,$\pm$\,7.1} \\" in text
    assert r"dept & 70.0 \\" in text
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    assert [text.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 1, 1]
    assert "%" not in re.sub(r"^%.*$|\\%", "", text, flags=re.M)


def has_booktabs():
    if not (shutil.which("pdflatex") and shutil.which("kpsewhich")):
        return False
    return not subprocess.run(["kpsewhich", "-must-exist", "booktabs.sty"]).returncode


@pytest.mark.skipif(not has_booktabs(), reason="no pdflatex with booktabs")
def test_latex_is_compiled(tmp_path):
    """With the one package that its first line names, whatever runs and tasks are called."""
    odd = r"a_b 50% $x^2$ & {c}\d #1 ~ <|> · é ± --"
    runs = [*measured("adept", 0.8, 0.9), *measured(odd, 0.7, task="rte"), *measured("dept", 0.7)]
    text = latex(compare(*runs, *measured("dpt", 0.5, test=False)))
    (package,) = re.findall(r"^% (\\usepackage\{.*\})$", text, re.M)
    (tmp_path / "table.tex").write_text(text)
    (tmp_path / "paper.tex").write_text(
        rf"\documentclass{{article}}{package}\begin{{document}}\input{{table}}\end{{document}}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").is_file() and "Missing character" not in done.stdout


def test_csv_has_a_line_for_each_group_split_and_metric():
    runs = [*measured("adept", 0.8, 0.9), *measured("adept", 0.2, rates=(0.1, None))]
    rows = list(csv.DictReader(io.StringIO(long_csv(compare(*runs)))))
    key = [(r["learning_rate"], r["split"], r["metric"], r["mean"], r["seeds"]) for r in rows]
    assert ("0.3", "test", "accuracy", "0.85", "2") in key
    assert ("0.1", "validation", "loss", "0.5", "1") in key
    assert len(rows) == 6
    (row,) = [r for r in rows if r["learning_rate"] == "0.3" and r["split"] == "test"]
    assert float(row["deviation"]) == pytest.approx(0.05 * 2**0.5)
    assert (row["trained_parameters"], row["peak_memory_gb"], row["end_loss"]) == ("1234", "", "")
    assert {r["offset_learning_rate"] for r in rows} == {"0.03", ""}


def test_a_group_without_any_metric_keeps_its_line():
    rows = list(csv.DictReader(io.StringIO(long_csv(compare(run_of(after={}))))))
    assert [(row["method"], row["metric"], row["mean"]) for row in rows] == [("adept", "", "")]
