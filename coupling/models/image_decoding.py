"""One image: opened, turned upright and converted to RGB, or refused by name."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from coupling.errors import CouplingError, first_line
from coupling.untrusted import clean

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 100_000_000
"""Images of more pixels are refused before they are decompressed."""
CONVERSIONS = {
    "1": "black and white",
    "L": "gray",
    "LA": "gray with transparency, which is dropped",
    "La": "gray with transparency, which is dropped",
    "P": "a palette image",
    "PA": "a palette image",
    "RGBA": "RGB with transparency, which is dropped",
    "RGBa": "RGB with transparency, which is dropped",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "LAB": "Lab",
    "HSV": "HSV",
}
"""Pillow's modes that are converted to RGB, in words; those of 16 bits are in ``_to_rgb``."""


@dataclass(frozen=True)
class Named:
    """An image with its name.

    Attributes:
        name: a file's name relative to its folder, or the number in its array or data set.
        open: opens it as Pillow does; called anew each time.
    """

    name: str
    open: Callable[[], "Image"]

    def rgb(self) -> "Image":
        """The image in RGB.

        Raises:
            CouplingError: if it cannot be read.
        """
        return decode(self)[0]


def decode(item: Named) -> tuple["Image", list[str]]:
    """An image in RGB and upright, and what had to be converted, in words that follow "is".

    Raises:
        CouplingError: if it cannot be read, or has too many pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = clean(item.name, 200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own about large images and odd files
        try:
            with item.open() as opened:
                width, height = opened.size
                if width * height > MOST_PIXELS:
                    raise CouplingError(
                        f"{name} has {width} x {height} pixels, {width * height / 1e6:.0f} million, and images of "
                        f"at most {MOST_PIXELS // 10**6} million are read; make it smaller"
                    )
                notes = []
                n_frames = getattr(opened, "n_frames", 1)
                if n_frames > 1:
                    notes.append(f"a sequence of {n_frames} frames; the first is used")
                opened.load()
                upright = ImageOps.exif_transpose(opened)
                if opened.getexif().get(0x0112, 1) not in (0, 1):
                    notes.append("stored rotated, with its orientation in EXIF; it is turned upright")
                return _to_rgb(upright, notes), notes
        except Image.DecompressionBombError:
            raise CouplingError(
                f"{name} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels, and images of "
                f"at most {MOST_PIXELS // 10**6} million are read; make it smaller"
            ) from None
        except UnidentifiedImageError:
            raise CouplingError(f"{name} is not an image, or of a format that Pillow does not read") from None
        except CouplingError:
            raise
        except FileNotFoundError:
            raise CouplingError(f"there is no file {name}") from None
        except MemoryError:
            raise
        except Exception as error:  # the readers of image formats raise anything on damaged files
            raise CouplingError(f"{name} cannot be read as an image: {clean(first_line(error), 300)}") from None


def _to_rgb(image: "Image", notes: list[str]) -> "Image":
    """The image in RGB, as transformers' image loader converts it, except that 16 bits are scaled and not cut."""
    from PIL import Image

    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise CouplingError("its pixels are floating-point numbers of unknown range; save it with 8 bits per channel")
    if image.mode.startswith("I"):
        notes.append("gray with 16 bits; it is scaled to 8 bits and converted to RGB")
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.rint(np.clip(values, 0, 65535) / 257).astype(np.uint8)).convert("RGB")
    notes.append(f"{CONVERSIONS.get(image.mode, image.mode)}; it is converted to RGB")
    return image.convert("RGB")
