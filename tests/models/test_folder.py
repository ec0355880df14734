"""What must be in a checkpoint's folder."""

import json
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


@pytest.mark.parametrize(
    "name", ["../a.safetensors", "/etc/passwd", "sub/../../a", "..", ".", "", "~/a", "a\0b", r"..\a", r"sub\..\..\a"]
)
def test_an_index_that_names_files_outside_its_folder_is_refused(tmp_path, name):
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(Path(BUNDLED) / "model.safetensors", tmp_path / "a.safetensors")
    (folder / "config.json").write_text("{}")
    for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": {"a.weight": name}}))
        with pytest.raises(CouplingError, match="which is not in its folder; such an index is refused"):
            check_checkpoint_folder(folder, "model", weights=True, allow_pickle=True)
        (folder / index).unlink()


def test_shards_in_folders_below_and_links_are_read(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.safetensors").symlink_to(Path(BUNDLED) / "model.safetensors")  # as the hub's cache has them
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": {"a": "sub/a.safetensors"}})
    )
    found = check_checkpoint_folder(tmp_path, "model", weights=True)
    assert [file.name for file in found.files] == ["a.safetensors"]
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "sub/a.safetensors"}}))
    with pytest.raises(CouplingError, match=r'index.json has no metadata, .* add "metadata": {} to it'):
        check_checkpoint_folder(tmp_path, "model", weights=True)
