"""The design of the family of small models: nine shapes, each trained in four ways, a full factorial."""

from dataclasses import dataclass
from itertools import product

LAYERS, WIDTHS = (2, 4, 6), (32, 48, 80)
"""Blocks and widths; every pair of them is a shape."""
STEPS, DATA_SHARES = (100, 300), (1.0, 0.01)
"""The two levels of each training setting. With a hundredth of the data, sequences are seen up to 11 times."""

VOCABULARY = 1024
MEMBER = "member.json"
"""The file in a member's folder that is written last, when the member is finished."""


@dataclass(frozen=True)
class Member:
    """One model of the family: its shape, and how it is trained."""

    layers: int
    hidden: int
    steps: int
    data_share: float
    seed: int

    @property
    def shape(self) -> str:
        """The name of the shape; it is the family in the table of models."""
        return f"L{self.layers}-d{self.hidden}"

    @property
    def name(self) -> str:
        """Shape, steps and share of the data, which identify a member."""
        return f"{self.shape}-s{self.steps}-{'all' if self.data_share == 1 else 'few'}"

    @property
    def cost(self) -> float:
        """The number of multiplications in training, up to a factor."""
        return self.steps * (12 * self.layers * self.hidden**2 + VOCABULARY * self.hidden)


def members(step_share: float = 1.0) -> list[Member]:
    """The 36 members, the most expensive first.

    Every shape is trained with each number of steps on each share of the data, so that depth, width, steps and data are
    uncorrelated, and each can be compared with all others fixed. All are trained with weight decay 0.1.

    Args:
        step_share: multiplies the steps of every training; less than 1 for a quick look.
    """
    family = [
        Member(layers, hidden, max(1, round(steps * step_share)), data_share, seed=0)
        for layers, hidden, steps, data_share in product(LAYERS, WIDTHS, STEPS, DATA_SHARES)
    ]
    return sorted(family, key=lambda member: -member.cost)
