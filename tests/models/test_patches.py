"""Where an image's tokens are."""

import pytest
import torch

from coupling.errors import CouplingError
from coupling.models.patches import PatchGrid, patch_size, special_labels
from tests.helpers import make_model
from tests.vision import FAMILIES, PIXELS, TIMM, make_timm, make_vit


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_of_transformers(family):
    assert special_labels(make_vit(family)) == FAMILIES[family][1]


@pytest.mark.parametrize("name", TIMM)
def test_special_tokens_of_timm(name):
    assert special_labels(make_timm(name)) == TIMM[name][1]


def test_labels_and_tokens():
    grid = PatchGrid(("cls", "reg1"), 2, 3)
    assert grid.labels == ["cls", "reg1", "(0, 0)", "(0, 1)", "(0, 2)", "(1, 0)", "(1, 1)", "(1, 2)"]
    assert grid.labels[grid.token(1, 2)] == grid.labels[grid.token(-1, -1)] == "(1, 2)"
    assert grid.default == (0, "class token")
    assert PatchGrid((), 4, 6).default == (2 * 6 + 3, "center patch")
    with pytest.raises(CouplingError, match="no patch 2,0: the image has 2 x 3 patches, 0,0 to 1,2"):
        grid.token(2, 0)


def test_patches_need_not_be_square():
    pixels = torch.zeros(1, 3, 16, 40)
    assert PatchGrid.of(make_vit(), pixels, 11) == PatchGrid(("cls",), 2, 5)
    assert patch_size(make_vit("CLIPVision")) == patch_size(make_timm()) == (8, 8)


def test_unknown_special_tokens_are_numbered():
    assert PatchGrid.of(make_vit(), PIXELS, 18).special == ("special1", "special2")


def test_tokens_that_are_no_patches():
    with pytest.raises(CouplingError, match="so its tokens are not its patches"):
        PatchGrid.of(make_vit(), PIXELS, 9)
    with pytest.raises(CouplingError, match="does not say the size of its patches"):
        patch_size(make_model("gpt2"))
