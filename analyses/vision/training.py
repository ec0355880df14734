"""Train one small vision transformer with stochastic depth, and save it as timm does."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from coupling.analyses.vision.data import ImageData, Images
from coupling.analyses.vision.design import Training
from coupling.errors import CouplingError, DivergedError, require
from coupling.files import load_json, to_json, write_atomically

ARCHITECTURE = "vit_tiny_patch16_224"
"""The architecture of timm that is built in a smaller shape: a class token, and norms before attention and MLP."""
WIDTH, HEADS = 64, 4
POSITION_SCALE = 0.5
"""Standard deviation of the initial positions. At timm's 0.02, which suits long trainings, so small a model takes
thousands of steps to find out where its patches are."""
BATCH, LEARNING_RATE, WARM_UP = 32, 2e-3, 0.1
"""Images per step, the largest learning rate, and the share of the steps in which it rises to that."""
RECORD = "training.json"
"""The file in a model's folder that is written last: how the training went."""


def make_model(training: Training, data: ImageData) -> nn.Module:
    """A vision transformer of timm's with the training's depth and stochastic-depth rate, at initial weights.

    Args:
        training: what to train.
        data: its images give the model's shape, and their mean and standard deviation its normalization.

    Raises:
        CouplingError: if timm is not installed.
    """
    require("timm", "torchvision", purpose="the study of vision transformers")
    import timm

    _, height, width, channels = data.images.shape
    mean, std = statistics_of(data.images)
    torch.manual_seed(training.seed)
    model: Any = timm.create_model(
        ARCHITECTURE,
        img_size=(height, width),
        patch_size=data.patch,
        in_chans=channels,
        num_classes=data.classes,
        embed_dim=WIDTH,
        depth=training.depth,
        num_heads=HEADS,
        drop_path_rate=training.stochastic_depth,
        weight_init="jax",
        pretrained_cfg_overlay={
            "input_size": (channels, height, width),
            "mean": mean,
            "std": std,
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "num_classes": data.classes,
        },
    )
    nn.init.trunc_normal_(model.pos_embed, std=POSITION_SCALE)
    return model


def statistics_of(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, with intensities from 0 to 1, to four digits."""
    scaled = images.astype(np.float64) / 255
    mean, std = scaled.mean(axis=(0, 1, 2)).round(4), scaled.std(axis=(0, 1, 2)).round(4)
    return tuple(mean.tolist()), tuple(std.tolist())


def pixels_of(images: Images, data: ImageData) -> Float[Tensor, "n channels height width"]:
    """The pixels that a model sees of images: scaled to [0, 1] and normalized, as the model's own transform does."""
    mean, std = (torch.tensor(values)[:, None, None] for values in statistics_of(data.images))
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std


def train_model(training: Training, data: ImageData, folder: Path) -> dict[str, Any]:
    """Train a model and save it, unless the folder contains it already.

    The training is deterministic for one version of torch and one number of threads, so a training that was stopped is
    done again with the same result.

    Args:
        training: what to train.
        data: the images.
        folder: the model's folder; it then contains ``config.json``, ``model.safetensors`` and ``training.json``.

    Returns:
        The training's fields; ``steps``; ``train_accuracy`` and ``train_loss`` on the training images,
        ``test_accuracy`` and ``test_loss`` on the others, accuracies from 0 to 1 and losses in nats.

    Raises:
        DivergedError: if the loss is not finite.
        CouplingError: if the model cannot be saved.
    """
    if (folder / RECORD).exists():
        return load_json(folder / RECORD)
    model = make_model(training, data)
    steps = _fit(model, training, data)
    found = training.as_dict() | {"data": data.name, "steps": steps}
    held_out = (data.held_out_images, data.held_out_labels)
    for part, (images, labels) in {"train": (data.images, data.labels), "test": held_out}.items():
        accuracy, loss = evaluate(model, pixels_of(images, data), torch.from_numpy(labels))
        found |= {f"{part}_accuracy": accuracy, f"{part}_loss": loss}
    from timm.models import save_for_hf

    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_for_hf(model, str(folder), safe_serialization=True, model_args=_arguments(training, data))
    except OSError as error:
        raise CouplingError(f"cannot write to {folder}: {error.strerror or error}") from None
    write_atomically(folder / RECORD, to_json(found))
    return found


def _arguments(training: Training, data: ImageData) -> dict[str, Any]:
    """What timm needs to build the model again; in evaluation no branch is dropped."""
    return {
        "img_size": list(data.images.shape[1:3]),
        "patch_size": data.patch,
        "in_chans": data.images.shape[3],
        "embed_dim": WIDTH,
        "depth": training.depth,
        "num_heads": HEADS,
        "drop_path_rate": training.stochastic_depth,
    }


def _fit(model: nn.Module, training: Training, data: ImageData) -> int:
    """Train, and return the number of steps."""
    pixels, labels = pixels_of(data.images, data), torch.from_numpy(data.labels)
    background = pixels_of(np.zeros_like(data.images[:1, :1, :1]), data)
    generator = torch.Generator().manual_seed(training.seed)
    steps = training.epochs * (len(pixels) // BATCH)
    optimizer = torch.optim.AdamW(_groups(model, training.weight_decay), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps))
    model.train()
    for step, rows in enumerate(_batches(len(pixels), training.epochs, generator)):
        batch = augment(pixels[rows], data, background, generator)
        loss = functional.cross_entropy(model(batch), labels[rows])
        if not math.isfinite(loss.item()):
            raise DivergedError(f"the training {training.name} diverged: its loss is {loss.item()} at step {step}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()
    return steps


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms, the class token and the positions do not."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    is_kept = [parameter.ndim < 2 or name in ("cls_token", "pos_embed") for name, parameter in named]
    return [
        {
            "params": [one for (_, one), kept in zip(named, is_kept, strict=True) if not kept],
            "weight_decay": weight_decay,
        },
        {"params": [one for (_, one), kept in zip(named, is_kept, strict=True) if kept], "weight_decay": 0.0},
    ]


def learning_rate_factor(step: int, steps: int) -> float:
    """The share of the largest learning rate at a step: a linear rise, then half a period of a cosine down to 0.

    Example:
        >>> [round(learning_rate_factor(step, 100), 2) for step in (0, 9, 10, 55, 100)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _batches(count: int, epochs: int, generator: torch.Generator) -> Iterator[Int[Tensor, " batch"]]:
    """The rows of each step's images; what is left over at an epoch's end is not used in that epoch."""
    for _ in range(epochs):
        order = torch.randperm(count, generator=generator)
        yield from order[: count - count % BATCH].split(BATCH)


def augment(
    pixels: Float[Tensor, "n channels height width"],
    data: ImageData,
    background: Float[Tensor, "1 channels 1 1"],
    generator: torch.Generator,
) -> Float[Tensor, "n channels height width"]:
    """Shift each image by a whole number of pixels in both directions, and mirror half of them where the data say so.

    Args:
        pixels: normalized images.
        data: says by how much to shift.
        background: what fills the place that an image leaves: the normalized value of black.
        generator: of the random numbers.
    """
    count, channels, height, width = pixels.shape
    shift = data.shift
    padded = background.expand(count, channels, height + 2 * shift, width + 2 * shift).clone()
    padded[:, :, shift : shift + height, shift : shift + width] = pixels
    down, right = torch.randint(0, 2 * shift + 1, (2, count, 1, 1), generator=generator)
    rows, columns = down + torch.arange(height)[:, None], right + torch.arange(width)
    shifted = padded[torch.arange(count)[:, None, None], :, rows, columns].permute(0, 3, 1, 2)
    if not data.flips:
        return shifted
    mirrored = torch.rand(count, generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], shifted.flip(-1), shifted)


def evaluate(
    model: nn.Module, pixels: Float[Tensor, "n channels height width"], labels: Int[Tensor, " n"]
) -> tuple[float, float]:
    """The share of images whose class the model names, and the mean loss in nats."""
    with torch.no_grad():
        logits = torch.cat([model(part) for part in pixels.split(256)])
    accuracy = (logits.argmax(-1) == labels).double().mean()
    return float(accuracy), float(functional.cross_entropy(logits.double(), labels))
