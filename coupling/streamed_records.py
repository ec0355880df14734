"""What a streamed measurement keeps of Jacobians, as records have it: triplets, moments, and products with frames."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coupling.linalg.jacobian import Replay
from coupling.linalg.pairwise import FactoredJacobian, Projection
from coupling.linalg.svd import SingularTriplets
from coupling.metrics import JacobianMoments
from coupling.plan import Key


def add_factored(
    content: dict[str, Any], tensors: dict[str, Tensor], key: Key, item: FactoredJacobian, replay: Replay
) -> None:
    """Add the triplets and moments of a Jacobian to a record."""
    triplets, index = item.triplets, len(content["keys"])
    names = ("left", "values", "right", "error")
    tensors |= {f"{name}-{index}": getattr(triplets, name) for name in names}
    rest = {"power_iterations": triplets.power_iterations, "engine": triplets.engine, "converged": triplets.converged}
    content["keys"].append(
        {
            "key": [key.block, key.token, key.output_token],
            "triplets": rest,
            "moments": asdict(item.moments),
            "replay": replay,
        }
    )


def factored_of(entry: dict[str, Any], tensors: dict[str, Tensor], index: int) -> FactoredJacobian:
    """The triplets and moments of one Jacobian of a record."""
    parts: dict[str, Any] = {name: tensors[f"{name}-{index}"] for name in ("left", "values", "right", "error")}
    moments = entry["moments"] | {"shape": tuple(entry["moments"]["shape"])}
    return FactoredJacobian(None, SingularTriplets(**parts, **entry["triplets"]), JacobianMoments(**moments))


def add_row(content: dict[str, Any], tensors: dict[str, Tensor], group: int, key: Key, row: Projection) -> None:
    """Add the products of a Jacobian with the frames of one comparison to a record."""
    index = len(content["rows"])
    tensors |= {f"plain-{index}": torch.from_numpy(row[0]), f"swapped-{index}": torch.from_numpy(row[1])}
    content["rows"].append([group, key.block, key.token, key.output_token])


def rows_of(content: dict[str, Any], tensors: dict[str, Tensor]) -> dict[tuple[int, Key], Projection]:
    """All products of a record, by comparison and Jacobian."""

    def array(name: str, index: int) -> np.ndarray:
        return tensors[f"{name}-{index}"].numpy()

    return {
        (group, Key(*key)): (array("plain", index), array("swapped", index))
        for index, (group, *key) in enumerate(content["rows"])
    }
