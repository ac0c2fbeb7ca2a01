"""One file of results: pieces are not done twice, failures do not stop, time is kept."""

import json

import pytest
import torch

from adept_llm import InputError
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import results
from benchmarks.gpu.pieces import PIECES, Piece
from benchmarks.gpu.results import ResultFile, compute


@pytest.fixture
def computed(monkeypatch):
    """Names of pieces, each as its process would begin; 'bad' fails."""
    names = []

    def play(piece, options, seconds):
        names.append(piece.name)
        return {"error": "broken"} if piece.name == "bad" else {"value": 1}

    monkeypatch.setattr(results, "in_own_process", play)
    return names


def pieces(*names, minutes=1.0):
    return [Piece(name, "", minutes, lambda setting: {}) for name in names]


def test_a_second_start_goes_on_with_what_is_missing(tmp_path, computed):
    path = tmp_path / "new" / "gpu.json"
    assert compute(ResultFile(path, "tiny", True), pieces("a", "bad"), [], None) == []
    found = json.loads(path.read_text())["pieces"]
    assert found["a"]["value"] == 1 and found["bad"]["error"] == "broken"
    again = ResultFile(path, "tiny", True)
    assert [piece.name for piece in again.missing(pieces("a", "bad", "c"))] == ["c"]
    assert computed == ["a", "bad"]


def test_nothing_is_begun_that_would_not_end_in_time(tmp_path, computed):
    given = [*pieces("long", minutes=9), *pieces("short", minutes=2)]
    waiting = compute(ResultFile(tmp_path / "gpu.json", "tiny", True), given, [], 8)
    assert computed == ["short"] and [piece.name for piece in waiting] == ["long"]


def test_no_minutes_are_no_time(tmp_path, computed):
    assert len(compute(ResultFile(tmp_path / "gpu.json", "tiny", True), pieces("a"), [], 0)) == 1
    assert computed == []


@pytest.mark.parametrize("shape, rehearsal", [("other", True), ("tiny", False)])
def test_results_of_another_shape_are_not_mixed_in(tmp_path, computed, shape, rehearsal):
    path = tmp_path / "gpu.json"
    compute(ResultFile(path, "tiny", True), pieces("a"), [], None)
    with pytest.raises(InputError, match="give another file"):
        ResultFile(path, shape, rehearsal)


def test_all_pieces_take_less_than_half_an_hour_and_each_less_than_eight_minutes():
    assert sum(piece.minutes for piece in PIECES) < 30
    assert max(piece.minutes for piece in PIECES) < 8
    assert len({piece.name for piece in PIECES}) == len(PIECES)


def test_without_a_gpu_it_says_what_it_would_do(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu"])
    command.main()
    told = capsys.readouterr().out
    assert all(piece.name in told for piece in PIECES) and "nothing was computed" in told
