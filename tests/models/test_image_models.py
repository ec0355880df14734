"""Which models take images, and which are refused."""

import pytest
import torch
import transformers

from coupling.errors import CouplingError
from coupling.models.image_models import check_widths, load_timm_checkpoint, takes_images
from tests.vision import make_timm, make_vit, save_timm


def test_which_models_take_images():
    for name in ("ViT", "Beit", "PixtralVision", "ResNet"):
        assert takes_images(getattr(transformers, f"{name}Config")())
    for name in ("GPT2", "CLIP", "Bert"):
        assert not takes_images(getattr(transformers, f"{name}Config")())


def test_the_width_of_a_convolutional_model_is_read_from_its_norms():
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(8), torch.nn.BatchNorm2d(16))
    with pytest.raises(CouplingError, match=r"net is convolutional or hierarchical.* from 8 to 16"):
        check_widths("net", transformers.ViTConfig(), model)
    check_widths("vit", transformers.ViTConfig(), make_vit())


def test_a_weight_that_is_not_finite(tmp_path):
    model = make_timm()
    with torch.no_grad():
        model.blocks[1].mlp.fc1.weight[0, 0] = torch.nan
    folder = save_timm(tmp_path / "vit", model)
    with pytest.raises(CouplingError, match="the weights of block 1 contain a NaN"):
        load_timm_checkpoint("vit", f"local-dir:{folder}")
