"""One input of a model, a text or an image: the arguments of its forward pass, its default token, and its labels."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol

import xarray as xr
from torch import nn

from coupling.errors import CouplingError
from coupling.models.forward import device_of
from coupling.models.image_decoding import Named
from coupling.models.image_processing import Processor
from coupling.models.images import Images
from coupling.models.patches import PatchGrid
from coupling.provenance import inputs_hash
from coupling.settings import Settings
from coupling.untrusted import quoted

if TYPE_CHECKING:
    from PIL.Image import Image

Patches = tuple[tuple[int, int], ...]
"""Patches of an image, by row and column."""
PICTURE_SIDE = 224
"""Pixels of the longer side of the picture of an image that a run keeps."""
PICTURES = 200
"""Images of a run whose pictures are kept."""


class Input(Protocol):
    """What a measurement needs to know of an input.

    Attributes:
        name: a prompt's text, or an image's name.
    """

    @property
    def name(self) -> str:
        """A prompt's text, or an image's name."""
        ...

    def arguments(self) -> dict[str, Any]:
        """Keywords of the model's forward pass, with batch size 1."""
        ...

    def digest(self) -> str:
        """SHA-256 of its name or text, and of what the model is given for it."""
        ...

    def settings(self, settings: Settings, arguments: dict[str, Any], n_tokens: int) -> Settings:
        """The settings with the tokens that are measured on this input."""
        ...

    def describe(self, part: xr.Dataset, arguments: dict[str, Any], settings: Settings) -> None:
        """Add to the input's Dataset what its tokens are called, and what it looks like."""
        ...


@dataclass(frozen=True)
class TextInput:
    """A prompt.

    Attributes:
        name: its text.
        keywords: of the forward pass.
        pieces: its tokens as text.
        category: its category; empty where the source does not say it.
    """

    name: str
    keywords: dict[str, Any]
    pieces: list[str]
    category: str = ""

    def arguments(self) -> dict[str, Any]:
        """Keywords of the model's forward pass."""
        return self.keywords

    def digest(self) -> str:
        """SHA-256 of the text and its token ids."""
        return inputs_hash(self.name, self.keywords)

    def settings(self, settings: Settings, arguments: dict[str, Any], n_tokens: int) -> Settings:
        """The settings as they are: the default token is the last."""
        return settings

    def describe(self, part: xr.Dataset, arguments: dict[str, Any], settings: Settings) -> None:
        """Add the prompt, its category and its tokens as text."""
        texts: dict[str, Any] = {"prompt_text": ((), storable(self.name))}
        texts |= {"category": ((), storable(self.category))} if self.category else {}
        part.update(texts | {"token_text": (("token",), [storable(piece) for piece in self.pieces])})


@dataclass(frozen=True)
class ImageInput:
    """An image.

    Attributes:
        image: opens it.
        model: the model.
        processor: prepares its pixels.
        patches: the patches that are measured; empty for the default token.
        keeps_picture: whether the run keeps a small picture of it.
    """

    image: Named
    model: nn.Module
    processor: Processor
    patches: Patches = ()
    keeps_picture: bool = True

    @property
    def name(self) -> str:
        """The image's name."""
        return self.image.name

    def arguments(self) -> dict[str, Any]:
        """Keywords of the model's forward pass, in the model's precision."""
        found: dict[str, Any] = dict(self.processor(self.image.rgb()))
        dtype = next(self.model.parameters()).dtype
        found["pixel_values"] = found["pixel_values"].to(device_of(self.model), dtype)
        return found

    def digest(self) -> str:
        """SHA-256 of the name and of the pixels as the processor gives them, before they take the model's precision.

        Raises:
            CouplingError: if the image cannot be read or processed.
        """
        return inputs_hash(self.name, dict(self.processor(self.image.rgb())))

    def settings(self, settings: Settings, arguments: dict[str, Any], n_tokens: int) -> Settings:
        """The settings with the given patches, or the class token or center patch, as tokens."""
        grid = PatchGrid.of(self.model, arguments["pixel_values"], n_tokens)
        return with_patches(settings, grid, self.patches)

    def describe(self, part: xr.Dataset, arguments: dict[str, Any], settings: Settings) -> None:
        """Add the image's name, its grid of patches with one label per token, what is measured, and a small picture."""
        grid = PatchGrid.of(self.model, arguments["pixel_values"], part.sizes["token"])
        part["prompt_text"] = ((), storable(self.name))
        describe_grid(part, grid)
        part.attrs["measured_place"] = measured_place(settings, grid, self.patches)
        picture = self.processor.picture(arguments["pixel_values"]) if self.keeps_picture else None
        part["picture"] = ((), "" if picture is None else data_uri(picture))


def describe_grid(part: xr.Dataset, grid: PatchGrid) -> None:
    """Add to an image's Dataset its grid of patches, and one label per token."""
    part["token_text"] = (("token",), grid.labels)
    part["patch_rows"], part["patch_columns"] = ((), grid.rows), ((), grid.columns)


def with_patches(settings: Settings, grid: PatchGrid, patches: Patches = ()) -> Settings:
    """The settings for one image: patches become tokens, and kind depth has its own default token.

    Raises:
        CouplingError: if the image has no such patch.
    """
    if patches:
        tokens = tuple(grid.token(row, column) for row, column in patches)
        return replace(settings, tokens=tokens[0] if len(tokens) == 1 else tokens)
    if settings.tokens is None and settings.kind == "depth":
        return replace(settings, tokens=grid.default[0])
    return settings


def measured_place(settings: Settings, grid: PatchGrid, patches: Patches = ()) -> str:
    """What is measured of an image, in words: "class token", "center patch", "patch (3, 4)" or "tokens all"."""
    if patches:
        return "patch " + " and ".join(f"({row}, {column})" for row, column in patches)
    if settings.tokens is None and settings.kind == "depth":
        return grid.default[1]
    return f"tokens {'all' if settings.tokens is None else settings.tokens}"


def image_inputs(
    images: Images, model: nn.Module, processor: Processor, patches: Patches = (), *, keep_pictures: bool = True
) -> list[Input]:
    """The inputs of images."""
    return [
        ImageInput(image, model, processor, patches, keep_pictures and index < PICTURES)
        for index, image in enumerate(images.items)
    ]


def data_uri(picture: "Image") -> str:
    """A small picture as text that a page can contain: PNG where it is tiny, else JPEG."""
    small = picture.copy()
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    form = "png" if max(small.size) <= 64 else "jpeg"
    content = BytesIO()
    small.save(content, form, quality=85)
    return f"data:image/{form};base64,{base64.b64encode(content.getvalue()).decode()}"


def storable(text: str) -> str:
    """A text as NetCDF can store it: a NUL character is shown by its symbol."""
    return text.replace("\0", "\u2400")


def parse_patches(patches: Any) -> Patches:
    """Patches as pairs of Python integers, from one pair or several.

    Raises:
        CouplingError: if they are something else.

    Example:
        >>> parse_patches((3, 4)), parse_patches([(0, 0), (1, -1)])
        (((3, 4),), ((0, 0), (1, -1)))
    """
    if patches is None:
        return ()
    several = isinstance(patches, Sequence) and bool(patches) and isinstance(patches[0], Sequence)
    several = several and not isinstance(patches, str)
    try:
        return tuple((int(row), int(column)) for row, column in (patches if several else [patches]))
    except (TypeError, ValueError):
        raise CouplingError(f"`patch` is {quoted(patches)}, but must be a row and a column such as (3, 4)") from None
