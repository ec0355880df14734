"""What the study varies: stochastic-depth rate, weight decay, depth and training length, each with several seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import Any, Self

STOCHASTIC_DEPTH_RATES, WEIGHT_DECAYS, DEPTHS, EPOCHS = (0.0, 0.1, 0.2, 0.4), (0.0, 0.5), (4, 8), (20, 80)
SEEDS = (0, 1, 2)
FACTORS = ("stochastic_depth", "weight_decay", "depth", "epochs")
"""The columns of a table that say what was varied, without the seed."""


@dataclass(frozen=True)
class Training:
    """One model to train.

    Attributes:
        stochastic_depth: the probability that the last block's branches are dropped for an image; it rises linearly
            from 0 in the first block.
        weight_decay: of AdamW, on the weight matrices.
        depth: the number of blocks.
        epochs: passes over the training images.
        seed: of the initial weights, the order of the images, their shifts, and the branches that are dropped.
    """

    stochastic_depth: float
    weight_decay: float
    depth: int
    epochs: int
    seed: int

    @property
    def model(self) -> str:
        """The name that the seeds of one configuration share."""
        return f"d{self.depth}-e{self.epochs}-sd{self.stochastic_depth:g}-wd{self.weight_decay:g}"

    @property
    def name(self) -> str:
        """The name of the model's folder."""
        return f"{self.model}-seed{self.seed}"

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """The training that a record of it describes."""
        return cls(**{field.name: content[field.name] for field in fields(cls)})

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON keeps them."""
        return asdict(self)


def trainings(
    rates: Sequence[float] = STOCHASTIC_DEPTH_RATES,
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
    depths: Sequence[int] = DEPTHS,
    epochs: Sequence[int] = EPOCHS,
    seeds: Sequence[int] = SEEDS,
) -> list[Training]:
    """All combinations, one seed after the other, so that an unfinished study has whole seeds.

    Args:
        rates: stochastic-depth rates.
        weight_decays: of AdamW.
        depths: numbers of blocks.
        epochs: training lengths.
        seeds: seeds of each configuration.

    Example:
        >>> len(trainings()), trainings()[0].name
        (96, 'd4-e20-sd0-wd0-seed0')
    """
    return [
        Training(rate, decay, depth, length, seed)
        for seed, length, depth, decay, rate in product(seeds, epochs, depths, weight_decays, rates)
    ]
