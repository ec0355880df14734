"""The design of the family of small models: eight shapes, each trained in three ways."""

from dataclasses import dataclass

SHAPES = ((2, 64), (4, 32), (4, 64), (4, 96), (6, 48), (6, 96), (8, 64), (12, 48))
"""Blocks and width of each shape."""

STEPS, WEIGHT_DECAYS, DATA_SHARES = (300, 800, 2000), (0.0, 0.1, 1.0), (1.0, 0.25, 0.05)
"""The three levels of each training setting."""

VOCABULARY = 1024
MEMBER = "member.json"
"""The file in a member's folder that is written last, when the member is finished."""


@dataclass(frozen=True)
class Member:
    """One model of the family: its shape, and how it is trained."""

    layers: int
    hidden: int
    steps: int
    weight_decay: float
    data_share: float
    seed: int

    @property
    def shape(self) -> str:
        """The name of the shape; it is the family in the table of models."""
        return f"L{self.layers}-d{self.hidden}"

    @property
    def name(self) -> str:
        """Shape and steps, which identify a member."""
        return f"{self.shape}-s{self.steps}"

    @property
    def cost(self) -> float:
        """The number of multiplications in training, up to a factor."""
        return self.steps * (12 * self.layers * self.hidden**2 + VOCABULARY * self.hidden)


def members(step_share: float = 1.0) -> list[Member]:
    """The 24 members, the most expensive first.

    Every shape is trained with each number of steps. Weight decay and data share follow from shape and steps such that
    steps, weight decay and data share are nearly uncorrelated over the family.

    Args:
        step_share: multiplies the steps of every training; less than 1 for a quick look.
    """
    family = [
        Member(
            layers=layers,
            hidden=hidden,
            steps=max(1, round(steps * step_share)),
            weight_decay=WEIGHT_DECAYS[(shape + recipe) % 3],
            data_share=DATA_SHARES[(shape + 2 * recipe) % 3],
            seed=3 * shape + recipe,
        )
        for shape, (layers, hidden) in enumerate(SHAPES)
        for recipe, steps in enumerate(STEPS)
    ]
    return sorted(family, key=lambda member: -member.cost)
