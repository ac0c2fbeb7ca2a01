"""`make docs` builds, and what it builds fetches nothing."""

import re
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT

pytest.importorskip("material", reason="pip install -e '.[docs]'")


def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path):
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = [page.read_text("utf-8") for page in tmp_path.rglob("*.html")]
    fetched = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+stylesheet[^>]+https?:"
    )
    assert len(pages) > 20 and not [page for page in pages if fetched.search(page)]
    # a file outside of docs/, a page outside of it, and a docstring
    assert (tmp_path / "benchmarks/results/throughput.json").is_file()
    assert "MAX_RESTARTS" in (tmp_path / "slurm/index.html").read_text("utf-8")
    assert "num_virtual_tokens" in (tmp_path / "api.html").read_text("utf-8")
