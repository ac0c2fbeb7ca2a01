"""The program itself: what Ctrl-C says, in whatever command."""

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
