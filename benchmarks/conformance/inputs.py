"""Inputs to try with an architecture: a prompt, an image or patches of one, a video, a sound."""

import inspect
from typing import Any

import torch

from benchmarks.conformance.configurations import FIRST_SPECIAL_TOKEN

TOKENS = 24
"""Length of the text prompts."""
SAMPLES = 6400
"""Length of a sound; encoders of waves make about 20 tokens of it."""
FRAMES = 64
"""Length of a spectrogram."""
MEL = ("num_mel_bins", "feature_size", "n_mels", "mel_bins", "input_feat_per_channel", "feature_projection_input_dim",
       "input_feat_size", "input_dim", "num_mel_channels")  # fmt: skip
"""What configurations call the number of frequencies of a spectrogram."""

Inputs = dict[str, Any]


class NotTriedError(Exception):
    """Why a pair is not judged: it cannot be built small, or it needs another modality."""


def candidate_inputs(model: Any) -> list[Inputs]:
    """Keyword arguments to try, in order: a prompt of token ids, an image, both, patches of an image, a video, a sound.

    Raises:
        NotTriedError: if the model takes none of these.
    """
    names = inspect.signature(model.forward).parameters
    generator = torch.Generator().manual_seed(3)
    text = _text(model, generator)
    candidates: list[Inputs] = []
    if "input_ids" in names:
        candidates.append(text)
        if "bbox" in names:
            candidates.append(text | {"bbox": torch.rand(1, TOKENS, 4, generator=generator)})
    images = _images(model, names, generator)
    candidates += [*images, *(text | image for image in images)] if "input_ids" in names else images
    if images and getattr(model, "main_input_name", "input_ids") == "pixel_values":
        candidates = [images[0], *(candidate for candidate in candidates if candidate is not images[0])]
    candidates += _patches(model, names, generator)
    decoder = {"decoder_input_ids": text["input_ids"]} if "decoder_input_ids" in names else {}
    candidates += [sound | decoder for sound in _sounds(model, names, generator)]
    if not candidates:
        raise NotTriedError(f"needs another modality: its input is {getattr(model, 'main_input_name', 'unknown')}")
    return candidates


def _text(model: Any, generator: torch.Generator) -> Inputs:
    ids = torch.randint(3, FIRST_SPECIAL_TOKEN, (1, TOKENS), generator=generator)
    text: Inputs = {"input_ids": ids}
    if getattr(model.config, "is_encoder_decoder", False):
        text["decoder_input_ids"] = ids.flip(1)
    return text


def _images(model: Any, names: Any, generator: torch.Generator) -> list[Inputs]:
    """An image; or several as the frames of a video."""
    config = getattr(model.config, "vision_config", model.config)
    name = next((name for name in ("pixel_values", "pixel_values_videos") if name in names), None)
    if name is None:
        return []
    if "spatial_shapes" in names:
        patch = config.num_channels * config.patch_size**2
        pixels = torch.randn(1, 16, patch, generator=generator)
        shapes = {"pixel_attention_mask": torch.ones(1, 16, dtype=torch.long), "spatial_shapes": torch.tensor([[4, 4]])}
        return [{name: pixels} | shapes]
    channels, height, width = _image_shape(config)
    frames = next((getattr(config, key) for key in ("num_frames", "frames_per_clip") if hasattr(config, key)), None)
    image = torch.randn(1, channels, height, width, generator=generator)
    video = torch.randn(1, frames or 2, channels, height, width, generator=generator)
    return [{name: video}] if name == "pixel_values_videos" else [{name: image}, *([{name: video}] if frames else [])]


def _patches(model: Any, names: Any, generator: torch.Generator) -> list[Inputs]:
    """The patches of an image side by side, with the grid that they are of."""
    grid = next((name for name in ("grid_thw", "image_grid_thw") if name in names), None)
    if grid is None or not hasattr(model.config, "patch_size"):
        return []
    config = model.config
    depth = getattr(config, "in_channels", getattr(config, "num_channels", 3)) or 3
    size, times = config.patch_size, getattr(config, "temporal_patch_size", 1) or 1
    first = next(iter(names))
    grids = {grid: torch.tensor([[1, 4, 4]])}
    if "merge_sizes" in names:
        grids["merge_sizes"] = torch.tensor([1])
    flat = torch.randn(16, depth * times * size**2, generator=generator)
    return [{first: flat} | grids, {first: flat.reshape(16, depth, times * size, size)} | grids]


def _sounds(model: Any, names: Any, generator: torch.Generator) -> list[Inputs]:
    """A wave, or a spectrogram in the layouts that are in use."""
    config = getattr(model.config, "audio_config", None) or getattr(model.config, "encoder_config", model.config)
    mel = next((getattr(config, key) for key in MEL if isinstance(getattr(config, key, None), int)), None)
    shapes: list[tuple[str, tuple[int, ...]]] = []
    if "input_values" in names:
        shapes += [("input_values", (1, SAMPLES)), ("input_values", (1, 1, SAMPLES))]
        if mel and isinstance(getattr(config, "max_length", None), int):
            shapes.append(("input_values", (1, config.max_length, mel)))
    if "input_features" in names and mel:
        longest = getattr(config, "max_source_positions", None)
        if isinstance(longest, int):
            shapes.append(("input_features", (1, mel, 2 * longest)))
        shapes += [("input_features", (1, FRAMES, mel)), ("input_features", (1, mel, FRAMES))]
    sounds: list[Inputs] = [{name: torch.randn(*shape, generator=generator)} for name, shape in shapes]
    for sound, (_, shape) in zip(sounds, shapes, strict=True):
        if "input_features_mask" in names:
            frames = next(size for size in shape[1:] if size != mel)
            sound["input_features_mask"] = torch.ones(1, frames, dtype=torch.long)
    return sounds


def _image_shape(config: Any) -> tuple[int, int, int]:
    """Channels, height and width of an image."""
    size = getattr(config, "image_size", None) or 32
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    channels = getattr(config, "num_channels", None)
    return channels if isinstance(channels, int) else 3, height, width
