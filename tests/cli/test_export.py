"""adept-llm export: what all formats have in common."""

import shutil

import pytest

from adept_llm.cli.main import main
from tests.builders import CONFIGS
from tests.export.test_merged import base_in


def export(folder, name, *more, into="out"):
    argv = ["export", folder / "adapter", "--format", name, "--output_dir", folder / into, *more]
    return main([*map(str, argv)])


def test_merge_is_the_format_hf(tmp_path):
    """One implementation under two names: the same bytes in the same files."""
    base_in(tmp_path)
    assert export(tmp_path, "hf") == 0
    merge = ["merge", "--adapter", tmp_path / "adapter", "--output_dir", tmp_path / "merged"]
    assert main([*map(str, merge)]) == 0
    found, expected = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("out", "merged")
    )
    assert found == expected and "model.safetensors" in found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "onnx"], "argument --format: invalid choice: 'onnx'"),
        (["--format", "hf", "--output_dir", "{0}/base"], "base exists; name a new folder"),
        (["--format", "hf", "--output_dir", "{0}/link"], "link is a link to nothing; name a new"),
        (["--format", "hf", "--model_name_or_path", "{0}/none"], "none"),
    ],
)
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path, capsys, words, said):
    """No folder above the wanted one either."""
    base_in(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.iterdir())
    given = [word.format(tmp_path) for word in words]
    argv = ["export", str(tmp_path / "adapter"), "--output_dir", str(tmp_path / "new/out"), *given]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error
    assert sorted(tmp_path.iterdir()) == before


def test_a_base_that_the_adapter_names_and_is_gone_is_told_so(tmp_path, capsys):
    """The user gave no model_name_or_path that could be wrong; one that is given is."""
    base_in(tmp_path)
    shutil.rmtree(tmp_path / "base")
    capsys.readouterr()
    names = f"(the adapter {tmp_path / 'adapter'} names it)"
    for more, said in [((), True), (("--model_name_or_path", str(tmp_path / "none")), False)]:
        assert export(tmp_path, "hf", *more) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and (names in error) == said


def test_a_method_that_no_table_holds_leaves_no_folder_above_either(tmp_path, capsys):
    """The check is the format's own, made when an unfinished folder stands already."""
    base_in(tmp_path, config=CONFIGS["dept"])
    assert export(tmp_path, "hf", into="new/out") == 2
    assert "depends on a word's position" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
