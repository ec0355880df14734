"""One image: what is converted, and what is refused before it is decompressed."""

import io
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from coupling.errors import CouplingError
from coupling.models.chat import PromptWarning
from coupling.models.image_decoding import Named, decode
from coupling.models.images import read_images
from tests.vision import save_picture


@pytest.fixture
def said():
    """The warnings of a test, as lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lambda: [str(warning.message) for warning in caught if issubclass(warning.category, PromptWarning)]


@pytest.mark.parametrize(
    ("mode", "suffix", "words"),
    [
        ("L", "png", "gray; it is converted to RGB"),
        ("LA", "png", "gray with transparency"),
        ("RGBA", "png", "RGB with transparency"),
        ("P", "png", "a palette image; it is converted to RGB"),
        ("1", "png", "black and white"),
        ("CMYK", "jpg", "CMYK; it is converted to RGB"),
    ],
)
def test_conversions_are_those_of_the_processor_and_said(tmp_path, said, mode, suffix, words):
    path = save_picture(tmp_path / f"odd.{suffix}", mode)
    (item,) = read_images(str(tmp_path)).items
    assert np.array_equal(np.asarray(item.rgb()), np.asarray(Image.open(path).convert("RGB")))
    (line,) = said()
    assert line.startswith("odd.")
    assert words in line


def test_sixteen_bits_are_scaled_and_not_cut(tmp_path, said):
    values = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "deep.png")
    (item,) = read_images(str(tmp_path)).items
    assert np.array_equal(np.asarray(item.rgb())[..., 0], np.rint(values / 257).astype(np.uint8))
    assert "16 bits; it is scaled to 8 bits" in said()[0]


def test_exif_rotation_is_applied_and_said(tmp_path, said):
    exif = Image.Exif()
    exif[0x0112] = 6
    save_picture(tmp_path / "phone.jpg", size=(40, 30), exif=exif)
    (item,) = read_images(str(tmp_path)).items
    assert item.rgb().size == (30, 40)
    assert "turned upright" in said()[0]


@pytest.mark.parametrize(("side", "words"), [(10_001, "10001 x 10001 pixels, 100 million"), (60_000, "million pixels")])
def test_a_decompression_bomb_is_refused_before_it_is_decompressed(side, words):
    """A file of a few bytes whose header names an enormous size."""
    content = io.BytesIO()
    Image.new("1", (8, 8)).save(content, "png")
    data = bytearray(content.getvalue())
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    with pytest.raises(CouplingError, match=words):
        decode(Named("bomb.png", lambda: Image.open(io.BytesIO(bytes(data)))))
