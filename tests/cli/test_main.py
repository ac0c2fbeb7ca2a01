"""The program itself: what Ctrl-C and a closed pipe say, in whatever command."""

import subprocess
import sys

import pytest

from adept_llm.cli import files
from adept_llm.cli.main import main


def test_ctrl_c_is_a_line_and_no_traceback(monkeypatch, capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "main", interrupted)
    try:
        assert main(["files"]) == 130
    except KeyboardInterrupt:
        pytest.fail("a traceback")
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_is_gone_is_no_traceback():
    """As in `adept-llm files | head -1`: what is printed at the end finds nobody."""
    command = [sys.executable, "-m", "adept_llm.cli.main", "files"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(60) == 141
