"""Labeled images for the study: scikit-learn's handwritten digits, and CIFAR-10 from a local folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from coupling.errors import CouplingError, first_line, require
from coupling.untrusted import clean

Images = UInt8[np.ndarray, "n height width channels"]
Labels = Int[np.ndarray, " n"]


@dataclass(frozen=True)
class ImageData:
    """Images with labels, divided into those that models are trained on and those that they do not see.

    Attributes:
        name: what the data are called.
        images: for training, (n, height, width, channels), 8-bit integers.
        labels: of ``images``, whole numbers from 0.
        held_out_images: as ``images``.
        held_out_labels: as ``labels``.
        patch: pixels of a patch's side.
        shift: the most pixels by which an image is shifted in training, in each direction.
        flips: whether images are mirrored in training.
    """

    name: str
    images: Images
    labels: Labels
    held_out_images: Images
    held_out_labels: Labels
    patch: int
    shift: int
    flips: bool = False

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.labels.max()) + 1


def digits(seed: int = 0) -> ImageData:
    """scikit-learn's handwritten digits: 1,797 real images of 8 x 8 pixels (Alpaydin and Kaynak 1998), no download.

    Half of the images, drawn at random, are for training. Their 17 gray levels are scaled to 8 bits. A patch has 2 x 2
    pixels, so that an image has 16.

    Args:
        seed: of the division.

    Raises:
        CouplingError: if scikit-learn is not installed.

    Example:
        >>> data = digits()
        >>> data.images.shape, data.held_out_images.shape, data.classes
        ((898, 8, 8, 1), (899, 8, 8, 1), 10)
    """
    require("sklearn", purpose="the data set of handwritten digits")
    from sklearn.datasets import load_digits

    loaded: Any = load_digits()
    images = np.rint(loaded.images * 255 / 16).astype(np.uint8)[..., None]
    order = np.random.default_rng(seed).permutation(len(images))
    train, held_out = order[: len(order) // 2], order[len(order) // 2 :]
    return ImageData(
        "digits", images[train], loaded.target[train], images[held_out], loaded.target[held_out], patch=2, shift=1
    )


def cifar10(folder: str | Path, *, train: int | None = None, held_out: int | None = None) -> ImageData:
    """CIFAR-10 (Krizhevsky 2009) from a local folder; nothing is downloaded.

    torchvision reads it, and checks first that the files are the published ones. A patch has 4 x 4 pixels, so that an
    image has 64.

    Args:
        folder: a folder that contains ``cifar-10-batches-py``.
        train: use only the first training images.
        held_out: use only the first test images.

    Raises:
        CouplingError: if torchvision is not installed, or the folder does not contain the data.
    """
    require("torchvision", purpose="CIFAR-10")
    from torchvision.datasets import CIFAR10

    try:
        seen, unseen = (CIFAR10(str(Path(folder).expanduser()), train=one, download=False) for one in (True, False))
    except (RuntimeError, OSError, ValueError) as error:
        raise CouplingError(
            f"there is no CIFAR-10 in {clean(str(folder), 300)} ({first_line(error)}); give the folder that contains "
            "cifar-10-batches-py, as torchvision saves it"
        ) from None
    return ImageData(
        "CIFAR-10",
        seen.data[:train],
        np.asarray(seen.targets[:train]),
        unseen.data[:held_out],
        np.asarray(unseen.targets[:held_out]),
        patch=4,
        shift=4,
        flips=True,
    )
