"""What must be in a checkpoint's folder."""

import shutil
from pathlib import Path

import pytest

from coupling.errors import CouplingError
from coupling.models.folder import check_checkpoint_folder, check_tokenizer_folder, is_local
from tests.helpers import BUNDLED


@pytest.mark.parametrize("name", ["./model", "/data/model", "~/model", "a/b/c"])
def test_paths_are_local(name):
    assert is_local(name)


def test_a_hub_id_is_not_local_unless_the_folder_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_local("org/model")
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert is_local("org/model")


def test_the_bundled_checkpoint_is_complete():
    check_checkpoint_folder(Path(BUNDLED), "bundled", weights=True)
    check_tokenizer_folder(Path(BUNDLED), "bundled")


def test_weights_are_asked_for_only_when_they_are_needed(tmp_path):
    shutil.copy(Path(BUNDLED) / "config.json", tmp_path)
    check_checkpoint_folder(tmp_path, "model", weights=False)
    with pytest.raises(CouplingError, match="model contains no weights"):
        check_checkpoint_folder(tmp_path, "model", weights=True)
    with pytest.raises(CouplingError, match="model contains no tokenizer"):
        check_tokenizer_folder(tmp_path, "model")
