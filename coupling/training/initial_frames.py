"""The initial model's singular frames on disk, inside a checkpoint, so that a resumed training compares with them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from coupling.files import write_atomically
from coupling.linalg.pairwise import FactoredJacobian
from coupling.linalg.svd import SingularTriplets
from coupling.metrics import JacobianMoments

FILE = "coupling_initial.safetensors"
"""The file's name inside a checkpoint's folder."""
Frames = list[list[FactoredJacobian]]
"""The singular frames of one model: for each prompt, one factored Jacobian per block, without its operator."""
_TENSORS = ("left", "values", "right", "error")


def write_frames(frames: Frames, folder: Path, identity: dict[str, Any]) -> None:
    """Write frames into a folder.

    Args:
        frames: for each prompt and block.
        folder: an existing folder.
        identity: what must be equal for the frames to be read again; it can be written as JSON.

    Raises:
        CouplingError: if the file cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    facts: dict[str, dict[str, Any]] = {}
    for prompt, blocks in enumerate(frames):
        for block, item in enumerate(blocks):
            place = f"{prompt}/{block}"
            tensors |= {
                f"{place}/{name}": getattr(item.triplets, name).detach().clone(memory_format=torch.contiguous_format)
                for name in _TENSORS
            }
            facts[place] = {
                "moments": asdict(item.moments),
                "power_iterations": item.triplets.power_iterations,
                "engine": item.triplets.engine,
                "converged": item.triplets.converged,
            }
    metadata = {"identity": _canonical(identity), "facts": json.dumps(facts)}
    write_atomically(folder / FILE, save(tensors, metadata))


def read_frames(folder: Path, identity: dict[str, Any]) -> Frames | None:
    """The frames that a folder contains.

    Args:
        folder: where ``write_frames`` wrote.
        identity: see ``write_frames``.

    Returns:
        The frames; None if there are none, or they have another identity.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("identity") != _canonical(identity):
                return None
            facts: dict[str, dict[str, Any]] = json.loads(metadata["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a dictionary
    except (SafetensorError, OSError):
        return None
    frames: Frames = []
    for place, fact in facts.items():
        prompt = int(place.split("/")[0])
        if prompt == len(frames):
            frames.append([])
        triplets = SingularTriplets(
            **{name: tensors[f"{place}/{name}"] for name in _TENSORS},
            power_iterations=fact["power_iterations"],
            engine=fact["engine"],
            converged=fact["converged"],
        )
        moments = fact["moments"]
        frames[prompt].append(
            FactoredJacobian(None, triplets, JacobianMoments(**moments | {"shape": tuple(moments["shape"])}))
        )
    return frames


def _canonical(identity: dict[str, Any]) -> str:
    return json.dumps(identity, sort_keys=True)
