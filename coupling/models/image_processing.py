"""How an image becomes a model's pixels: by the processor of the checkpoint, or by timm's data configuration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoImageProcessor

from coupling.errors import CouplingError, one_line, require
from coupling.models.translation import call
from coupling.provenance import NOT_THE_MODEL, content_hash
from coupling.untrusted import quoted

if TYPE_CHECKING:
    from PIL.Image import Image

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
KEPT = ("pixel_values", "image_sizes")
"""What a processor gives that vision towers take."""


@dataclass(frozen=True)
class Processor:
    """How a model's images are prepared.

    Attributes:
        function: an RGB image to keywords of the forward pass, with batch size 1.
        mean: what is subtracted from each channel.
        std: what each channel is divided by.
        gray: whether the model takes images of one channel.
        configuration: what the function does, in a form that JSON knows.
    """

    function: Callable[["Image"], dict[str, Tensor]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    gray: bool = False
    configuration: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the configuration."""
        return content_hash(self.configuration)

    def __call__(self, image: "Image") -> dict[str, Tensor]:
        """The keywords of the forward pass for one image.

        Raises:
            CouplingError: if the processor fails, or does not give one image of shape (1, channels, height, width).
        """
        try:
            inputs = self.function(image.convert("L") if self.gray else image)
        except Exception as error:  # processors raise anything
            raise CouplingError(f"the image processor fails on this image: {one_line(error)}") from None
        shape = tuple(inputs["pixel_values"].shape) if "pixel_values" in inputs else ()
        if len(shape) != 4 or shape[0] != 1:
            raise CouplingError(
                f"the image processor gives pixels of shape {shape}; only models that take one image of shape "
                "(1, channels, height, width), not several crops or loose patches, can be measured"
            )
        return inputs

    def picture(self, pixel_values: Float[Tensor, "1 c h w"]) -> "Image":
        """The image as the model sees it: cut and scaled, with the normalization undone."""
        from PIL import Image

        pixels = pixel_values[0].detach().float().cpu()
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        values = ((pixels * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
        return Image.fromarray(values.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy())


def check_processor_folder(folder: Path, name: str) -> None:
    """Check, before the weights are loaded, that a local folder has the configuration of its image processor.

    Raises:
        CouplingError: if it does not.
    """
    if not any((folder / file).exists() for file in PROCESSOR_FILES):
        raise CouplingError(
            f"{name} contains no image processor configuration ({PROCESSOR_FILES[0]}), which says how images are "
            "scaled and normalized; copy it from the model's repository"
        )


def load_processor(name: str, path: str, model: Any, **keywords: Any) -> Processor:
    """The image processor of a checkpoint in transformers' format.

    Args:
        name: what the user called the checkpoint.
        path: the folder or hub id.
        model: the model, whose number of channels is looked up.
        **keywords: of ``from_pretrained``.

    Raises:
        CouplingError: if it cannot be loaded.
    """
    require("PIL", purpose="an image model")
    loaded: Any = call(name, "image processor", AutoImageProcessor.from_pretrained, path, **keywords)

    def function(image: "Image") -> dict[str, Tensor]:
        found = loaded(images=image, return_tensors="pt")
        return {key: found[key] for key in KEPT if key in found}

    n_channels = getattr(model.config, "num_channels", 3)
    if not isinstance(n_channels, int) or n_channels not in (1, 3):
        raise CouplingError(f"{name} takes images of {n_channels} channels; images have 1 or 3")
    normalizes = getattr(loaded, "do_normalize", False)
    mean, std = (
        _numbers(name, key, getattr(loaded, key, None) or ()) if normalizes else ()
        for key in ("image_mean", "image_std")
    )
    configuration = {key: value for key, value in loaded.to_dict().items() if key not in NOT_THE_MODEL}
    return Processor(function, mean or (0.0,), std or (1.0,), n_channels == 1, configuration)


def _numbers(name: str, key: str, values: Any) -> tuple[float, ...]:
    """What an image processor normalizes by, one number per channel; a single number is for all channels."""
    try:
        return tuple(float(value) for value in (values if isinstance(values, (list, tuple)) else [values]))
    except (TypeError, ValueError):
        raise CouplingError(
            f"the image processor of {name} has the {key} {quoted(values)}, which is not a list of numbers"
        ) from None


def timm_processor(model: nn.Module) -> Processor:
    """The evaluation transform of timm's data configuration of a model."""
    require("timm", "torchvision", purpose="a timm model")
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    config = resolve_model_data_config(model)
    transform: Any = create_transform(**config, is_training=False)
    mean, std = (_numbers("the model", key, config[key]) for key in ("mean", "std"))
    gray = config["input_size"][0] == 1
    return Processor(lambda image: {"pixel_values": transform(image)[None]}, mean, std, gray, config)
