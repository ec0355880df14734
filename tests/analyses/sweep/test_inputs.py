"""Prompts and images as ``study.json`` keeps them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import coupling
from coupling.analyses.sweep.driver import sweep
from coupling.analyses.sweep.inputs import (
    absolute_name,
    arguments_of,
    inputs_as_json,
    prompts_as_json,
    prompts_from_json,
)
from coupling.analyses.sweep.study import study_from_mapping
from coupling.errors import CouplingError
from coupling.models.prompts import Prompts, bundled_prompts
from tests.vision import digits, save_picture, save_vit


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The current folder, with two photos."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(2):
        save_picture(tmp_path / "photos" / f"{number}.png", seed=number)
    return tmp_path


def there_and_back(**study):
    """What ``coupling.analyze`` is given after ``study.json`` has been written and read."""
    return arguments_of(json.loads(json.dumps(inputs_as_json(study_from_mapping({"models": "a"} | study)))))


def test_prompts_come_back():
    prompts = Prompts(["a", "b"], "file.txt", [[{"role": "user", "content": "a"}]] * 2)
    assert prompts_from_json(json.loads(json.dumps(prompts_as_json(prompts)))) == prompts
    assert there_and_back(prompts=["a", "b"]) == {"prompts": Prompts(["a", "b"], "texts")}


def test_what_is_bundled_depends_on_the_model():
    assert there_and_back() == {}
    assert there_and_back(limit=3) == {"limit": 3}
    changed = Prompts(["another text"], "bundled")  # of another version of the package
    assert arguments_of({"prompts": prompts_as_json(changed)}) == {"prompts": changed}
    assert there_and_back(prompts=bundled_prompts().texts)["prompts"].source == "texts"


@pytest.mark.parametrize(
    ("images", "source", "names"),
    [
        ("photos", "photos", ["0.png", "1.png"]),
        ("photos/*.png", "photos/*.png", ["photos/0.png", "photos/1.png"]),
        ("photos/1.png", "photos/1.png", ["photos/1.png"]),
        (["photos/1.png", "photos/0.png"], "images", ["photos/1.png", "photos/0.png"]),
        ("two.npy", "two.npy", ["two.npy 0", "two.npy 1"]),
    ],
)
def test_images_come_back_from_another_folder_under_their_names(photos, monkeypatch, images, source, names):
    np.save("two.npy", np.stack([np.repeat(one[..., None], 3, -1) for one in digits(2)]))
    study = study_from_mapping({"models": "a", "images": images})
    content = json.loads(json.dumps(inputs_as_json(study)))
    given = study.images()
    size = given.items[0].rgb().size
    monkeypatch.chdir("photos")
    (found,) = arguments_of(content).values()
    assert [item.name for item in found.items] == [item.name for item in given.items] == names
    assert (found.source, found.digest) == (given.source, given.digest)
    assert found.source == source
    assert found.items[0].rgb().size == size


def test_a_name_that_is_absolute_stays(photos):
    path = str(photos / "photos")
    assert absolute_name(path) == path
    assert absolute_name("photos") == path
    assert absolute_name("user/photos") == "user/photos"  # a data set of the hub
    (found,) = there_and_back(images=f"{path}/*.png").values()
    assert found.items[0].name == f"{path}/0.png"


def test_changed_images_are_refused(photos):
    content = inputs_as_json(study_from_mapping({"models": "a", "images": "photos", "limit": 2}))
    save_picture(Path("photos/2.png"), seed=2)
    assert len(arguments_of(content)["images"].items) == 2
    os.remove("photos/0.png")
    with pytest.raises(CouplingError, match=r"images of photos are not those that .* \(2 now, 2 then"):
        arguments_of(content)


def test_a_study_of_images_measures_what_analyze_does(photos):
    save_vit(photos / "vit")
    settings = {"k": 2, "patch": [1, 2]}
    threads = torch.get_num_threads()  # with another number, sums are rounded otherwise
    table = sweep({"models": ["vit"], "images": "photos"} | settings, out="study", workers=1, threads=threads)
    assert table["state"].tolist() == ["done"], table["error"][0]
    alone = coupling.analyze(str(photos / "vit"), images="photos", out="alone", **settings)
    assert coupling.open_run("study/runs/vit").identical(alone)
    with pytest.raises(CouplingError, match="differs in patch"):
        sweep({"models": ["vit"], "images": "photos"} | settings | {"patch": [0, 0]}, out="study")
    with pytest.raises(CouplingError, match="differs in images, patch"):
        sweep({"models": ["vit"], "k": 2, "images": "photos/0.png"}, out="study")


def test_a_study_of_both_kinds_of_models_measures_each_on_what_is_bundled(photos):
    save_vit(photos / "vit")
    table = sweep({"models": ["vit", "bundled"], "k": 2, "limit": 1}, out="study", workers=1, threads=1)
    assert table["state"].tolist() == ["done", "done"], table["error"].tolist()
    assert coupling.open_run("study/runs/vit").attrs["prompts"] == "bundled images"
    assert coupling.open_run("study/runs/bundled").attrs["prompts"] == "bundled"
