"""Links, files and code that the pages name are there."""

import ast
import re
import subprocess
import sys

import pytest
import yaml

from tests.docs.pages import PAGES, ROOT, anchors, lines, links, name, python_blocks, spans

FOLDERS = "benchmarks docs ds_configs recipes slurm tests adept_llm".split()
ROOMS = sorted(path.name for path in (ROOT / "adept_llm").iterdir() if path.is_dir())
# folders of a user's own, or of a run
OTHERS = ("runs", "data")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_go_somewhere(page):
    dead = []
    for number, link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{name(page)}:{number}: {link}")
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_are_there(page):
    """Paths in backticks and command lines; those of architecture.md begin in adept_llm/."""
    known = "|".join([*FOLDERS, *(room for room in ROOMS if room not in OTHERS)])
    path = re.compile(rf"(?<![\w./-])(?:{known})/[\w./*-]*\w")
    code = [(one.number, one.text) for one in lines(page) if one.language is not None]
    missing = [
        f"{name(page)}:{number}: {found}"
        for number, text in [*spans(page), *code]
        for found in path.findall(text)
        if "NAME" not in found and not any([*ROOT.glob(found), *(ROOT / "adept_llm").glob(found)])
    ]
    # the changelog names what there was
    assert page.name == "CHANGELOG.md" or not missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_is_python(page):
    for number, block in python_blocks(page):
        try:
            ast.parse(block)
        except SyntaxError as error:
            pytest.fail(f"{name(page)}:{number + (error.lineno or 1) - 1}: {error.msg}")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_names_that_are_imported_exist(page):
    import adept_llm

    for _, block in python_blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "adept_llm":
                assert {one.name for one in node.names} <= set(adept_llm.__all__)


def test_each_page_is_in_the_navigation_and_each_name_there_is_a_page():
    def named(nav):
        if isinstance(nav, str):
            return [nav]
        inner = nav.values() if isinstance(nav, dict) else nav
        return [name for one in inner for name in named(one)]

    nav = named(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    assert len(nav) == len(set(nav))
    assert {page.name for page in ROOT.glob("docs/*.md")} <= set(nav)
    missing = [one for one in nav if not ((ROOT / "docs" / one).exists() or (ROOT / one).exists())]
    assert not missing


def test_the_reference_names_all_public_names():
    import adept_llm

    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    documented = {line.rpartition(".")[2] for line in text.splitlines() if line[:4] == "::: "}
    assert set(adept_llm.__all__) <= documented


def test_the_picture_is_what_its_script_draws():
    code = "import sys; sys.path.insert(0, 'docs'); import packing_picture as p; print(p.picture())"
    drawn = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert drawn.strip() == (ROOT / "docs/pictures/packing.svg").read_text("utf-8").strip()
