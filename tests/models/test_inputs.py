"""Texts and images as inputs."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

from coupling.errors import CouplingError
from coupling.models.image_processing import Processor
from coupling.models.images import read_images
from coupling.models.inputs import (
    TextInput,
    data_uri,
    describe_grid,
    image_inputs,
    measured_place,
    parse_patches,
    storable,
    with_patches,
)
from coupling.models.patches import PatchGrid
from coupling.settings import Settings
from tests.vision import SIDE, make_vit

GRID = PatchGrid(("cls",), 2, 3)
PLAIN = PatchGrid((), 2, 3)


@pytest.mark.parametrize(
    ("settings", "grid", "patches", "tokens", "place"),
    [
        ({}, GRID, (), 0, "class token"),
        ({}, PLAIN, (), 4, "center patch"),
        ({}, GRID, ((1, 2),), 6, "patch (1, 2)"),
        ({}, GRID, ((1, 2), (0, -1)), (6, 3), "patch (1, 2) and (0, -1)"),
        ({"tokens": "all"}, GRID, (), "all", "tokens all"),
        ({"kind": "self"}, GRID, (), None, "tokens all"),
        ({"tokens": 3}, GRID, (), 3, "tokens 3"),
    ],
)
def test_what_is_measured_of_an_image(settings, grid, patches, tokens, place):
    given = Settings((3,), **settings)
    assert with_patches(given, grid, patches).tokens == tokens
    assert measured_place(given, grid, patches) == place


def test_an_image(tmp_path):
    model = make_vit().double()
    processor = Processor(lambda image: {"pixel_values": torch.ones(1, 3, SIDE, SIDE)}, (0.0,), (1.0,))
    (one,) = image_inputs(read_images(np.zeros((8, 8, 3), np.uint8)), model, processor)
    arguments = one.arguments()
    assert arguments["pixel_values"].dtype == torch.float64
    part = xr.Dataset({"a": (("token",), np.zeros(17))})
    one.describe(part, arguments, Settings())
    assert part.token_text.values[:2].tolist() == ["cls", "(0, 0)"]
    assert part.attrs["measured_place"] == "class token"
    assert str(part.picture.values).startswith("data:image/png;base64,")
    (other,) = image_inputs(read_images(np.zeros((8, 8, 3), np.uint8)), model, processor, keep_pictures=False)
    other.describe(part, arguments, Settings())
    assert str(part.picture.values) == ""


def test_a_text():
    text = TextInput("a\0b", {"input_ids": torch.zeros(1, 2)}, ["a\0", "b"])
    part = xr.Dataset({"a": (("token",), np.zeros(2))})
    settings = Settings()
    assert text.settings(settings, text.arguments(), 2) is settings
    text.describe(part, text.arguments(), settings)
    assert part.token_text.values.tolist() == ["a\u2400", "b"]
    assert str(part.prompt_text.values) == storable("a\0b") == "a\u2400b"


def test_pictures_are_small():
    uri = data_uri(Image.new("RGB", (1000, 500), "#336699"))
    assert uri.startswith("data:image/jpeg;base64,")
    decoded = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert decoded.size == (224, 112)
    assert np.abs(np.asarray(decoded).astype(int) - [0x33, 0x66, 0x99]).max() <= 3


def test_the_grid_of_an_image():
    part = xr.Dataset({"a": (("token",), np.zeros(7))})
    describe_grid(part, GRID)
    assert (int(part.patch_rows), int(part.patch_columns)) == (2, 3)
    assert part.token_text.values[-1] == "(1, 2)"


def test_patches_that_are_not_pairs():
    assert parse_patches(None) == ()
    assert parse_patches(np.int64(1) * np.array([2, 3])) == ((2, 3),)
    for bad in (3, (1, 2, 3), [(1, 2, 3)], "ab"):
        with pytest.raises(CouplingError, match="must be a row and a column such as"):
            parse_patches(bad)


def test_the_digest_of_an_image_covers_its_name_and_its_pixels():
    def digest(value, scale=1.0, name="image"):
        processor = Processor(
            lambda image: {"pixel_values": scale * torch.tensor(np.asarray(image))[None]}, (0.0,), (1.0,)
        )
        images = read_images(np.full((8, 8, 3), value, np.uint8))
        (one,) = image_inputs(images, torch.nn.Linear(1, 1, dtype=torch.bfloat16), processor)
        return replace(one, image=replace(one.image, name=name)).digest()

    assert digest(3) == digest(3)
    assert len({digest(3), digest(4), digest(3, scale=0.5), digest(3, name="other")}) == 4


def test_the_digest_of_a_text_covers_its_token_ids():
    texts = [
        TextInput(text, {"input_ids": torch.tensor([[number]])}, []) for text, number in (("a", 1), ("b", 1), ("a", 2))
    ]
    assert len({text.digest() for text in texts}) == 3
