"""Old checkpoints that go when new ones come: what cannot be deleted is said in a line."""

import pytest

from adept_llm.errors import InputError
from adept_llm.training.checkpoints import folders
from tests.training.runs import losses_of


def test_a_checkpoint_that_cannot_be_deleted_is_told_in_a_line(tmp_path, monkeypatch):
    """Other ranks wait for what rank 0 says: a traceback there would leave them waiting."""

    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folders, "remove", refuse)
    with pytest.raises(InputError, match=rf"{tmp_path.name}: cannot be written \(Permission"):
        losses_of(tmp_path, max_steps=2, save_total_limit=1)
    assert (tmp_path / "checkpoint-2").is_dir()
