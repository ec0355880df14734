"""The checkpoint and the inputs of a saved run, loaded again and checked to be the same ones."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr
from torch import nn

from coupling.dataset import DETAIL_VARIABLES, input_word
from coupling.errors import CouplingError
from coupling.models.blocks import find_blocks
from coupling.models.checkpoint import Checkpoint
from coupling.models.images import Images, bundled_images, read_images
from coupling.models.inputs import Input
from coupling.models.loading import BUNDLED, load
from coupling.models.prompts import Prompts
from coupling.models.sources import inputs_of
from coupling.run_folder import INPUTS, open_run, read_summary
from coupling.untrusted import clean
from coupling.weights_hash import weights_hash

FORMER_HASH = 64
"""Digits of a hash of the weights that versions up to 0.2.0 recorded: SHA-256, without a name in front."""


@dataclass(frozen=True)
class Reopened:
    """A saved run with what it was measured on.

    Attributes:
        run: the run, without the large variables that only pictures need.
        identity: the settings and options that it was measured with.
        checkpoint: its checkpoint.
        modules: the checkpoint's residual blocks.
        inputs: the prompts or images that were asked for, in order.
    """

    run: xr.Dataset
    identity: dict[str, Any]
    checkpoint: Checkpoint
    modules: list[nn.Module]
    inputs: list[Input]


def reopen(
    folder: str | Path,
    prompt: int,
    *,
    images: Any = None,
    most_images: int = 1,
    device: str = "auto",
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> Reopened:
    """A saved run's checkpoint, and one of its prompts; of a run of images, that image and the first others.

    Args:
        folder: the folder of the run.
        prompt: the prompt or image that is needed, counted from 0.
        images: where the images of the run are, if they are not where they were.
        most_images: of a run of images, the first that are read, and ``prompt``.
        device: see ``analyze``.
        trust_remote_code: see ``analyze``.
        allow_pickle: see ``analyze``.

    Returns:
        For a prompt, one input. For images, the first ones in the run's order.

    Raises:
        CouplingError: if it is not a run, there is no such prompt, the checkpoint cannot be loaded, or the checkpoint
            or the input has changed since the run was measured.
    """
    run = open_run(folder, without=DETAIL_VARIABLES)
    summary = read_summary(folder)
    word = input_word(run)
    if not 0 <= prompt < run.sizes["prompt"]:
        raise CouplingError(f"there is no {word} {prompt}: the run's {word}s are 0 to {run.sizes['prompt'] - 1}")
    identity = summary.get("identity")
    identity = identity if isinstance(identity, dict) else {}
    origin = run.attrs
    name = str(origin["model"])
    checkpoint = load(
        None if name == BUNDLED else name,
        revision=origin.get("commit_hash") or origin.get("revision") or None,
        dtype=origin["dtype"],
        device=device,
        trust_remote_code=trust_remote_code,
        block_list=None if origin.get("part") else identity.get("block_list") or identity.get("blocks"),
        part=origin.get("part"),
        base=origin.get("base"),
        allow_pickle=allow_pickle,
        random_weights=int(origin.get("seed", 0)) if origin.get("weights") == "random" else None,
    )
    _check_weights(checkpoint, str(origin.get("weights_hash", "")))
    count = max(prompt + 1, min(most_images, run.sizes["prompt"]))
    inputs = _inputs(run, identity, checkpoint, prompt, images, count)
    known = summary.get(INPUTS)
    at = prompt if checkpoint.processor is not None else 0
    if at >= len(inputs) or (isinstance(known, list) and prompt < len(known) and inputs[at].digest() != known[prompt]):
        hint = "; `images` says where they are now" if word == "image" else ""
        raise CouplingError(
            f"{word} {prompt} of the run in {clean(folder, 300)} is not the one that was measured{hint}; measure the "
            "run again"
        )
    return Reopened(run, identity, checkpoint, find_blocks(checkpoint.model, checkpoint.block_list)[1], inputs)


def _check_weights(checkpoint: Checkpoint, known: str) -> None:
    """Check that a checkpoint's weights are those that were measured."""
    now = weights_hash(checkpoint.model, "sha256" if len(known) == FORMER_HASH else "xxh3-128") if known else known
    if now != known:
        raise CouplingError(
            f"the weights of {clean(checkpoint.name, 300)} have changed since the run was measured; measure it again"
        )


def _inputs(
    run: xr.Dataset, identity: dict[str, Any], checkpoint: Checkpoint, prompt: int, images: Any, count: int
) -> list[Input]:
    """The prompt, from the text that the run has; or the first images, from where they were."""
    if "prompt_text" not in run:
        raise CouplingError("the run does not say its prompts (it was measured in memory); measure a checkpoint")
    if checkpoint.processor is None:
        text = str(run.prompt_text.values[prompt])
        return inputs_of(
            checkpoint,
            Prompts([text], "the run"),
            truncate=bool(identity.get("truncate")),
            special_tokens=bool(run.attrs.get("special_tokens", 1)),  # a chat's text is rendered, with its own ones
        ).items
    found = _images(run, images, count)
    if images is not None:  # their names, which identify them, are those that the run has
        names = run.prompt_text.values.tolist()
        found = replace(
            found, items=[replace(one, name=str(name)) for one, name in zip(found.items, names, strict=False)]
        )
    return inputs_of(checkpoint, found, keep_pictures=False).items


def _images(run: xr.Dataset, images: Any, count: int) -> Images:
    """The first images of a run, from where they were or where the user says that they are."""
    source = str(run.attrs.get("prompts", ""))
    if images is None and source == "bundled images":
        return bundled_images(count)
    if images is None and (source == "images" or source.startswith("dataset ")):
        raise CouplingError(f"the images of the run ({clean(source, 300)}) must be given again; name them by `images`")
    return read_images(source if images is None else images, limit=count)
