"""Processors: what they give, and what the model sees."""

import numpy as np
import pytest
import torch
from PIL import Image

from coupling.errors import CouplingError
from coupling.models.image_processing import Processor, check_processor_folder, load_processor, timm_processor
from tests.vision import SIDE, make_timm, make_vit, save_picture, save_vit


def test_a_processor_of_transformers(tmp_path):
    folder = save_vit(tmp_path / "vit", image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4])
    processor = load_processor("vit", folder, make_vit())
    image = Image.open(save_picture(tmp_path / "a.png", size=(SIDE, SIDE)))
    pixels = processor(image)["pixel_values"]
    values = np.asarray(image) / 255
    expected = (values - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4]
    assert np.allclose(pixels[0].permute(1, 2, 0), expected, atol=1e-5)
    assert np.array_equal(np.asarray(processor.picture(pixels)), np.asarray(image))


def test_the_transform_of_timm(tmp_path):
    model = make_timm(pretrained_cfg_overlay={"input_size": (3, SIDE, SIDE), "crop_pct": 1.0})
    processor = timm_processor(model)
    image = Image.open(save_picture(tmp_path / "a.png", size=(SIDE, SIDE)))
    pixels = processor(image)["pixel_values"]
    assert pixels.shape == (1, 3, SIDE, SIDE)
    assert abs(np.asarray(processor.picture(pixels)).astype(int) - np.asarray(image)).max() <= 1


def test_a_model_of_gray_images(tmp_path):
    model = make_timm(in_chans=1, pretrained_cfg_overlay={"input_size": (1, SIDE, SIDE), "mean": (0.5,), "std": (0.5,)})
    processor = timm_processor(model)
    pixels = processor(Image.open(save_picture(tmp_path / "a.png")))["pixel_values"]
    assert pixels.shape == (1, 1, SIDE, SIDE)
    assert processor.picture(pixels).mode == "RGB"


def test_a_folder_without_a_processor(tmp_path):
    with pytest.raises(CouplingError, match=r"contains no image processor configuration \(preprocessor_config.json\)"):
        check_processor_folder(tmp_path, "vit")
    (tmp_path / "preprocessor_config.json").write_text("{")
    check_processor_folder(tmp_path, "vit")
    with pytest.raises(CouplingError, match="cannot load the image processor of vit"):
        load_processor("vit", str(tmp_path), make_vit())


def test_what_is_no_single_image(tmp_path):
    image = Image.open(save_picture(tmp_path / "a.png"))
    crops = Processor(lambda _: {"pixel_values": torch.zeros(1, 5, 3, 8, 8)}, (0.0,), (1.0,))
    with pytest.raises(CouplingError, match=r"pixels of shape \(1, 5, 3, 8, 8\)"):
        crops(image)
    failing = Processor(lambda _: {}, (0.0,), (1.0,))
    with pytest.raises(CouplingError, match=r"pixels of shape \(\)"):
        failing(image)


def test_the_digest_of_a_processor_is_that_of_its_configuration(tmp_path):
    model = make_vit()
    usual = load_processor("vit", save_vit(tmp_path / "vit"), model)
    other = load_processor("vit", save_vit(tmp_path / "other", image_mean=[0.4, 0.5, 0.6]), model)
    assert usual.digest == load_processor("vit", str(tmp_path / "vit"), model).digest != other.digest
    timm = [timm_processor(make_timm(pretrained_cfg_overlay={"crop_pct": crop})).digest for crop in (1.0, 1.0, 0.9)]
    assert timm[0] == timm[1] != timm[2]
