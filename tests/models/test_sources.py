"""What a model is measured on."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import coupling
from coupling.errors import CouplingError
from coupling.models.chat import PromptWarning
from coupling.models.images import Images
from coupling.models.loading import load
from coupling.models.prompts import Prompts
from coupling.models.sources import fitting_source, given_source, inputs_of
from tests.vision import digits, save_vit


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return save_vit(tmp_path_factory.mktemp("models") / "vit")


def test_what_was_given():
    assert given_source(None, None, chat=False, limit=None) is None
    prompts = given_source(["a", "b"], None, chat=False, limit=1)
    assert isinstance(prompts, Prompts)
    assert prompts.texts == ["a"]
    images = given_source(None, digits(4), chat=False, limit=2)
    assert isinstance(images, Images)
    assert len(images.items) == 2
    assert given_source(None, images, chat=False, limit=None) is images
    with pytest.raises(CouplingError, match="`prompts` and `images` exclude each other"):
        given_source(["a"], digits(4), chat=False, limit=None)


def test_the_bundled_set_fits_the_model(vit):
    text, image = load(), load(vit)
    assert fitting_source(text, None, 3).source == "bundled"
    assert len(fitting_source(text, None, 3).texts) == 3
    assert fitting_source(image, None, 3).source == "bundled images"
    with pytest.raises(CouplingError, match="takes images, not prompts"):
        fitting_source(image, Prompts(["a"], "texts"), None)
    with pytest.raises(CouplingError, match=r"bundled takes text, not images$"):
        fitting_source(text, given_source(None, digits(4), chat=False, limit=None), None)


def test_inputs(vit):
    checkpoint = load(vit)
    images = fitting_source(checkpoint, None, 2)
    inputs = inputs_of(checkpoint, images, ((0, 0),))
    assert [one.name for one in inputs.items] == ["00-house.png", "01-face.png"]
    assert inputs.digest == images.digest
    assert inputs.hashes == [one.digest() for one in inputs.items]
    assert len(set(inputs.hashes)) == 2
    with pytest.raises(CouplingError, match="`chat` and `truncate` are for prompts"):
        inputs_of(checkpoint, images, truncate=True)
    text = load()
    with pytest.raises(CouplingError, match="`patch` is for images"):
        inputs_of(text, Prompts(["a"], "texts"), ((0, 0),))
    (one,) = inputs_of(text, Prompts(["import os"], "texts")).items
    assert one.pieces[0] == "import"


def test_analyze_takes_images_in_python(vit):
    pictures = [Image.fromarray(one).convert("RGB") for one in digits(2)]
    run = coupling.analyze(vit, images=pictures, k=3, patch=(1, 1))
    assert run.measured_token.values.tolist() == [6, 6]
    assert run.attrs["prompts"] == "images"
    with pytest.raises(CouplingError, match="`patch` and `tokens` both say"):
        coupling.analyze(vit, images=pictures, k=3, patch=(1, 1), tokens=3)


def test_images_that_the_processor_refuses_are_left_out(vit):
    def picky(image):
        if image.size == (9, 9):
            raise ValueError("too odd")
        return loaded.processor(image)

    loaded = load(vit)
    checkpoint = replace(loaded, processor=replace(loaded.processor, function=picky))
    pictures = [np.zeros((side, side, 3), np.uint8) for side in (9, 8, 9)]
    with pytest.warns(PromptWarning) as caught:
        inputs = inputs_of(checkpoint, given_source(None, pictures, chat=False, limit=None))
    assert [one.name for one in inputs.items] == ["image 1"]
    assert len(inputs.hashes) == 1
    assert [str(warning.message).partition(": ")[0] for warning in caught] == ["image 0", "image 2"]
    with pytest.raises(CouplingError, match=r"^image 0: the image processor fails on this image: too odd"):
        inputs_of(checkpoint, given_source(None, pictures[:1], chat=False, limit=None))
    with pytest.raises(CouplingError, match=r"^no image can be measured: image 0: "):
        inputs_of(checkpoint, given_source(None, pictures[::2], chat=False, limit=None))
