r"""What coupling is compared with: loss, and properties of Jacobians, residual stream and weights.

Each is a number that a model has anyway and that others have found to go with quality. They are measured where they
are asked for, in the same pass; ``coupling.choices.BASELINES`` lists them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from torch import nn

from coupling.baseline_means import ATTRIBUTE
from coupling.choices import BASELINES
from coupling.linalg.jacobian import BlockJacobian, DenseJacobian
from coupling.linalg.normality import non_normality
from coupling.metrics import JacobianMoments
from coupling.models.checkpoint import Checkpoint
from coupling.models.head import head_of, prompt_loss
from coupling.representation import curvature, intrinsic_dimension, linear_cka, mean_cosine, prompt_entropy
from coupling.spectral_exponent import spectral_exponent

FEWEST_TOKENS = 4
"""The fewest tokens of which the first is left out of the residual stream's measures: it may be an attention sink."""


@dataclass(frozen=True)
class JacobianProperties:
    """Properties of one Jacobian.

    Attributes:
        effective_rank: the participation ratio ``(sum s^2)^2 / sum s^4`` of its singular values, between 1 and d.
        non_normality: see ``coupling.linalg.normality``.
    """

    effective_rank: float
    non_normality: float

    @classmethod
    def of(
        cls, operator: BlockJacobian | DenseJacobian, moments: JacobianMoments, seed: int = 0
    ) -> "JacobianProperties":
        """The properties of a Jacobian whose moments are known."""
        rank = moments.frobenius**4 / moments.fourth if moments.fourth > 0 else np.nan
        return cls(rank, non_normality(operator, seed))


def add_jacobian_baselines(part: xr.Dataset, properties: Sequence[JacobianProperties]) -> None:
    """Add the properties of the Jacobians of all blocks to one prompt's Dataset of kind depth."""
    part["effective_rank"] = (("block",), [one.effective_rank for one in properties])
    part["non_normality"] = (("block",), [one.non_normality for one in properties])
    _describe(part)


def add_stream_baselines(part: xr.Dataset, trajectory: Float[np.ndarray, "layers n d"]) -> None:
    """Add the measures of the residual stream to one prompt's Dataset; those of two layers belong to the earlier one.

    Args:
        part: the prompt's Dataset.
        trajectory: the residual stream from layer 0 to L.
    """
    layers = trajectory[:, 1:] if trajectory.shape[1] >= FEWEST_TOKENS else trajectory
    for name, measure in (
        ("prompt_entropy", prompt_entropy),
        ("curvature", curvature),
        ("intrinsic_dimension", intrinsic_dimension),
    ):
        part[name] = (("layer",), [measure(layer) for layer in layers])
    for name, similarity in (("layer_cka", linear_cka), ("layer_cosine", mean_cosine)):
        values = [similarity(first, second) for first, second in pairwise(layers)]
        part[name] = (("layer",), [*values, np.nan])
    _describe(part)


def _describe(part: xr.Dataset) -> None:
    for baseline in BASELINES:
        if baseline.name in part:
            part[baseline.name].attrs |= {"long_name": baseline.label, "units": "1"}


class Baselines:
    """Adds what needs the whole checkpoint to the Datasets of its prompts: the loss, and the weights' exponent.

    Args:
        checkpoint: the loaded checkpoint.
        blocks: its residual blocks.

    Raises:
        CouplingError: if the package that fits power laws is not installed.
    """

    def __init__(self, checkpoint: Checkpoint, blocks: Sequence[nn.Module]) -> None:
        self.checkpoint = checkpoint
        self.head = head_of(checkpoint) if checkpoint.with_head is not None else None
        self.attributes: dict[str, Any] = {ATTRIBUTE: 1}
        exponent = spectral_exponent(blocks)
        if np.isfinite(exponent):
            self.attributes["spectral_exponent"] = exponent

    def add(self, part: xr.Dataset, arguments: dict[str, Any]) -> None:
        """Add the loss of a prompt to its Dataset, where the model predicts tokens."""
        if self.head is None or "input_ids" not in arguments:
            return
        loss = prompt_loss(self.head, self.checkpoint.tokenizer, arguments)
        part["loss"] = ((), loss.nats_per_token)
        part["bits_per_byte"] = ((), loss.bits_per_byte)
        _describe(part)
