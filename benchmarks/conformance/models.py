"""Builds one architecture small and random, and makes its inputs."""

import copy
import inspect
from typing import Any

import torch
import transformers

from benchmarks.conformance.architectures import Pair
from benchmarks.conformance.configurations import FIRST_SPECIAL_TOKEN, small_config
from benchmarks.conformance.overrides import GENTLE, SMALL

TOKENS = 24
"""Length of the text prompts."""
LARGEST = 60_000_000
"""Models with more parameters are not small; their configuration needs an override."""


class NotTriedError(Exception):
    """Why a pair is not judged: it cannot be built small, or it needs another modality."""


def build(pair: Pair) -> tuple[Any, dict[str, Any]]:
    """A small model with random weights, and inputs with which its plain forward pass runs.

    The smallest configuration is tried first, then one that keeps the widths and the image size of the defaults.

    Raises:
        NotTriedError: if no configuration works.
    """
    model_class = getattr(transformers, pair.class_name, None)
    if model_class is None:
        raise NotTriedError(f"transformers does not export {pair.class_name}")
    reasons = []
    for table in (SMALL, GENTLE):
        try:
            model = _construct(pair, model_class, table)
            return model, _working_inputs(model)
        except NotTriedError as error:
            reasons.append(error)
    raise reasons[0]


def _construct(pair: Pair, model_class: Any, table: dict[str, int]) -> Any:
    torch.manual_seed(7)
    try:
        config = small_config(pair.model_type, pair.class_name, table)
        if not isinstance(config, model_class.config_class):
            parts = [getattr(config, key) for key in config.sub_configs]
            config = next((part for part in parts if isinstance(part, model_class.config_class)), config)
        try:
            with torch.device("meta"):
                size = sum(p.numel() for p in model_class(copy.deepcopy(config)).parameters())
        except (NotImplementedError, RuntimeError):
            size = 0  # the constructor reads values, which the meta device does not have: the model is built as it is
        if size > LARGEST:
            raise NotTriedError(f"cannot be built small: {size:,} parameters")
        model = model_class(config).float().eval()
    except NotTriedError:
        raise
    except Exception as error:
        raise NotTriedError(f"cannot be built small: {_line(error)}") from error
    scale_weights(model)
    return model


def _working_inputs(model: Any) -> dict[str, Any]:
    """The first inputs with which the model runs."""
    reasons = []
    for inputs in candidate_inputs(model):
        try:
            check_forward(model, inputs)
            return inputs
        except NotTriedError as error:
            reasons.append(error)
    raise reasons[0]


@torch.no_grad()
def scale_weights(model: torch.nn.Module) -> None:
    """Enlarge matrices to a standard deviation of 0.16, and move vectors a little."""
    for parameter in model.parameters():
        if parameter.numel() == 0:
            continue
        if not torch.isfinite(parameter).all() or parameter.abs().max() > 1e4:
            parameter.copy_(0.16 * torch.randn_like(parameter))  # never initialized
        elif parameter.ndim > 1 and parameter.numel() > 1:
            spread = float(parameter.std())
            if spread < 1e-6:
                parameter.add_(0.16 * torch.randn_like(parameter))
            else:
                parameter.mul_(min(8.0, max(1.0, 0.16 / spread)))
        else:
            parameter.add_(0.1 * torch.randn_like(parameter))


def candidate_inputs(model: Any) -> list[dict[str, Any]]:
    """Keyword arguments to try, in order: a prompt of token ids, an image, both, or patches of an image.

    Raises:
        NotTriedError: if the model takes none of these.
    """
    names = inspect.signature(model.forward).parameters
    generator = torch.Generator().manual_seed(3)
    candidates: list[dict[str, Any]] = []
    ids = torch.randint(3, FIRST_SPECIAL_TOKEN, (1, TOKENS), generator=generator)
    text: dict[str, Any] = {"input_ids": ids}
    if getattr(model.config, "is_encoder_decoder", False) and "decoder_input_ids" in names:
        text["decoder_input_ids"] = ids.flip(1)
    config = getattr(model.config, "vision_config", model.config)
    if "input_ids" in names:
        candidates.append(text)
        if "bbox" in names:
            candidates.append(text | {"bbox": torch.rand(1, TOKENS, 4, generator=generator)})
    if "pixel_values" in names:
        if "spatial_shapes" in names:
            patch = config.num_channels * config.patch_size**2
            pixels = {
                "pixel_values": torch.randn(1, 16, patch, generator=generator),
                "pixel_attention_mask": torch.ones(1, 16, dtype=torch.long),
                "spatial_shapes": torch.tensor([[4, 4]]),
            }
        else:
            pixels = {"pixel_values": torch.randn(1, *_image_shape(config), generator=generator)}
        candidates += [pixels, text | pixels] if "input_ids" in names else [pixels]
        if getattr(model, "main_input_name", "input_ids") == "pixel_values":
            candidates = [pixels, *(c for c in candidates if c is not pixels)]
    if "grid_thw" in names:
        patch = getattr(config, "in_channels", 3) * getattr(config, "temporal_patch_size", 1) * config.patch_size**2
        first = next(iter(names))
        patches = {first: torch.randn(16, patch, generator=generator), "grid_thw": torch.tensor([[1, 4, 4]])}
        candidates.append(patches)
    if not candidates:
        raise NotTriedError(f"needs another modality: its input is {getattr(model, 'main_input_name', 'unknown')}")
    return candidates


def _image_shape(config: Any) -> tuple[int, int, int]:
    """Channels, height and width of an image."""
    size = getattr(config, "image_size", None) or 32
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    channels = getattr(config, "num_channels", None)
    return channels if isinstance(channels, int) else 3, height, width


@torch.no_grad()
def check_forward(model: Any, inputs: dict[str, Any]) -> None:
    """See that the model itself runs.

    Raises:
        NotTriedError: if its plain forward pass fails, or gives numbers that are not finite.
    """
    try:
        model(**inputs)
    except Exception as error:
        raise NotTriedError(f"its own forward pass fails at this configuration: {_line(error)}") from error


def _line(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:200]
