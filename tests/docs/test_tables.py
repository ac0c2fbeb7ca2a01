"""Tables in README.md and docs/ say what the committed results say."""

import pytest

from benchmarks import tables
from tests.docs.pages import ROOT


@pytest.mark.parametrize("name", tables.PAGES)
def test_tables_are_made_from_the_results(name):
    page = (ROOT / name).read_text("utf-8")
    assert tables.filled(page) == page, "run python -m benchmarks.tables"


@pytest.mark.parametrize("name", tables.TABLES)
def test_each_table_stands_on_a_page(name):
    pages = "".join((ROOT / page).read_text("utf-8") for page in tables.PAGES)
    assert pages.count(tables.BEGIN.format(name)) == pages.count(tables.END.format(name)) == 1


def test_what_stands_between_the_marks_is_replaced(monkeypatch):
    monkeypatch.setattr(tables, "TABLES", {"one": lambda: "| new |"})
    page = f"before\n{tables.BEGIN.format('one')}\nold\n{tables.END.format('one')}\nbehind"
    made = tables.filled(page)
    assert "| new |" in made and "old" not in made
    assert made.startswith("before") and made.endswith("behind")


def test_tables_of_another_machine(monkeypatch):
    """It has other processes and rows; a GPU that it has too measured nothing of this."""
    made = {name: tables.results(name) for name in ("startup", "throughput")}
    startup = made["startup"]
    startup["rows_5000"] = startup.pop("rows_1000000")
    startup["rows_5000"]["16 processes"] = startup["rows_5000"].pop("2 processes")
    made["throughput"]["hardware"]["gpus"] = ["NVIDIA H200"]
    monkeypatch.setattr(tables, "results", made.get)
    assert "| 5,000 | 16 processes |" in tables.startup()
    assert "1,000,000" not in tables.startup()
    said = tables.throughput()
    assert "threads of a CPU" in said and "H200" not in said
