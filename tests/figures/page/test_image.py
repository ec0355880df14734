"""The report's images: marks, the heat map, and alternative text."""

import numpy as np
import pytest

import coupling
from coupling.figures import report
from coupling.figures.page.image import SECTION, has_images, measured_patches, patch_coupling
from coupling.figures.page.packing import unpacked
from tests.figures.page.helpers import material
from tests.vision import digits, save_vit


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_vit(tmp_path_factory.mktemp("models") / "vit")


@pytest.fixture(scope="module")
def self_run(vit):
    return coupling.analyze(vit, images=digits(2), k=(2, 3), kind="self")


@pytest.fixture(scope="module")
def patch_run(vit):
    return coupling.analyze(vit, images=digits(2), k=3, patch=(1, 2))


def test_the_measured_patches(vit, self_run, patch_run, run):
    assert measured_patches(self_run, 1) == list(range(16))
    assert measured_patches(patch_run, 0) == [6]
    both = coupling.analyze(vit, images=digits(1), k=3, patch=[(1, 2), (3, 3)])
    assert measured_patches(both, 0) == [6, 15]
    assert measured_patches(coupling.analyze(vit, images=digits(1), k=3), 0) == []
    assert has_images(patch_run)
    assert not has_images(run)
    assert SECTION.data(material(run)) == [None]
    assert SECTION.data(material(coupling.analyze(vit, images=digits(1), k=3, detail="none"))) == [None]


def test_the_coupling_of_a_patch(self_run):
    coupled = 1 - self_run.mismatch.sel(k=3, norm=2, block=1, prompt=1).values
    np.fill_diagonal(coupled, np.nan)
    expected = (np.nanmean(coupled, axis=0) + np.nanmean(coupled, axis=1)) / 2
    found = patch_coupling(self_run, 1).sel(k=3, norm=2).isel(block=1)
    assert np.allclose(found, expected)


def test_the_heat_map_shows_the_patches_without_the_class_token(self_run):
    (data,) = SECTION.data(material(self_run, prompts=2))
    expected = patch_coupling(self_run, 1).sel(k=2, norm=1).isel(block=2).values[1:]
    assert np.allclose(unpacked(data["heat"]["0,1,1,2"]), expected, atol=1e-4)
    assert [image["alt"] for image in data["images"].values()] == [
        f"image {number}, 4 x 4 patches; 16 patches were measured" for number in range(2)
    ]


def test_a_depth_run_on_all_tokens_has_a_heat_map(vit):
    everywhere = coupling.analyze(vit, images=digits(1), k=3, tokens="all")
    (data,) = SECTION.data(material(everywhere))
    mean = 1 - everywhere.mismatch.sel(k=3, norm=1, prompt=0).values
    for token in range(17):
        np.fill_diagonal(mean[token], np.nan)
    assert np.allclose(unpacked(data["heat"]["0,1,0"]), np.nanmean(mean, axis=(1, 2))[1:], atol=1e-4)


def test_a_run_of_one_patch_has_no_heat_map(patch_run):
    (data,) = SECTION.data(material(patch_run, prompts=2))
    assert data["heat"] == {}
    assert data["images"]["0"]["marked"] == [6]
    assert data["images"]["0"]["note"] == "the measured patch is row 1, column 2"


def test_the_page_has_a_section_of_images(self_run, run):
    page = report(self_run)
    assert '<h2 id="image-title">Images</h2>' in page
    assert ">image <select" in page
    assert "image-title" not in report(run)
    both = report([self_run, run])
    assert "This run did not measure images" in both
