r"""The table of singular directions: what each scores highest, and which of them several blocks share.

Pure functions of arrays; ``coupling.readout`` gives them the vectors of a model.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

SIDES = ("left", "right")
LEVEL = 0.01
"""The probability that, by chance, any vector of a side is marked as shared."""
COLUMNS = (
    "block", "side", "rank", "singular_value", "toward", "against", "nearest_block", "nearest_rank", "cosine",
    "shared", "shared_blocks",
)  # fmt: skip
LISTS = ("toward", "against", "shared_blocks")
"""Columns whose cells are lists."""


@dataclass(frozen=True)
class Directions:
    """The top singular vectors of one block's Jacobian.

    Attributes:
        values: the singular values, largest first.
        left: what the block writes, as columns.
        right: what it reads, as columns.
    """

    values: Float[np.ndarray, " k"]
    left: Float[np.ndarray, "d k"]
    right: Float[np.ndarray, "d k"]

    def of(self, side: str) -> Float[np.ndarray, "d k"]:
        """The vectors of a side, "left" or "right"."""
        return self.left if side == "left" else self.right

    def flipped(self, signs: Float[np.ndarray, " k"]) -> "Directions":
        """The same Jacobian's vectors with other signs; left and right vectors change theirs together."""
        return Directions(self.values, self.left * signs, self.right * signs)


Reading = Callable[[int, str, Float[np.ndarray, "d k"]], Float[np.ndarray, "k n"]]
"""Scores of n items (tokens of the vocabulary, or patches) along each vector of a block's side."""


def read_directions(
    vectors: dict[int, Directions], reading: Reading, names: Callable[[int], str], top: int
) -> pd.DataFrame:
    """The table of ``directions`` from vectors that are known.

    Args:
        vectors: the vectors of each block.
        reading: scores of items along vectors.
        names: the name of an item.
        top: number of items for each end of a vector.

    Returns:
        See ``directions``; ``attrs`` has ``width``, ``shared_above`` and ``comparisons``.
    """
    scores: dict[tuple[int, str], np.ndarray] = {}
    signed = {}
    for block, one in vectors.items():
        left = reading(block, "left", one.left)
        strongest = np.abs(left).argmax(axis=1)
        signs = np.where(left[np.arange(len(left)), strongest] < 0, -1.0, 1.0)
        signed[block] = one.flipped(signs)
        scores[block, "left"] = signs[:, None] * left
        scores[block, "right"] = signs[:, None] * reading(block, "right", one.right)
    width, count = next(iter(vectors.values())).left.shape
    comparisons = len(vectors) * (len(vectors) - 1) // 2 * count**2
    threshold = shared_above(width, comparisons)
    shared = {side: _partners(signed, side) for side in SIDES}
    rows = []
    for block in vectors:
        for side in SIDES:
            for rank in range(count):
                order = np.argsort(scores[block, side][rank], kind="stable")
                cosines = shared[side][block][rank]
                rows.append(
                    {
                        "block": block,
                        "side": side,
                        "rank": rank,
                        "singular_value": float(signed[block].values[rank]),
                        "toward": [names(int(item)) for item in order[::-1][:top]],
                        "against": [names(int(item)) for item in order[:top]],
                    }
                    | _nearest(cosines, threshold)
                )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs = {"width": width, "shared_above": threshold, "comparisons": comparisons}
    return table


def shared_above(width: int, comparisons: int, level: float = LEVEL) -> float:
    r"""The absolute cosine that random directions exceed in any of n comparisons with at most this probability.

    .. math:: t^2 = B^{-1}\left(1 - \frac{\alpha}{n}\right)

    with the distribution function B of Beta(1/2, (d - 1)/2).

    Args:
        width: d, the number of dimensions.
        comparisons: n.
        level: the probability alpha.

    Returns:
        t, at most 1; 1 where nothing is compared, or in one dimension.

    Example:
        >>> round(shared_above(576, 100), 3)
        0.161
    """
    if comparisons < 1 or width < 2:
        return 1.0
    return float(np.sqrt(stats.beta.isf(level / comparisons, 0.5, (width - 1) / 2)))


def _partners(vectors: dict[int, Directions], side: str) -> dict[int, list[dict[tuple[int, int], float]]]:
    """For each block and vector, its cosine with every vector of the other blocks, by block and rank."""
    found: dict[int, list[dict[tuple[int, int], float]]] = {}
    for block, one in vectors.items():
        own = one.of(side)
        products = {other: own.T @ two.of(side) for other, two in vectors.items() if other != block}
        found[block] = [
            {(other, index): float(cosine) for other, rows in products.items() for index, cosine in enumerate(rows[at])}
            for at in range(own.shape[1])
        ]
    return found


def _nearest(cosines: dict[tuple[int, int], float], threshold: float) -> dict[str, Any]:
    """The most nearly parallel vector, whether it is shared, and the blocks that share it."""
    if not cosines:
        return {"nearest_block": None, "nearest_rank": None, "cosine": None, "shared": False, "shared_blocks": []}
    block, rank = max(cosines, key=lambda place: abs(cosines[place]))
    above = sorted({other for (other, _), cosine in cosines.items() if abs(cosine) >= threshold})
    return {
        "nearest_block": block,
        "nearest_rank": rank,
        "cosine": cosines[block, rank],
        "shared": bool(above),
        "shared_blocks": above,
    }


def as_json(table: pd.DataFrame) -> dict[str, Any]:
    """The table in a form that JSON can write: its attributes, and one entry per row.

    Args:
        table: see ``coupling.directions``.
    """
    return {**table.attrs, "directions": table.astype(object).where(table.notna(), None).to_dict("records")}


def as_csv(table: pd.DataFrame) -> str:
    """The table as CSV; lists are JSON in their cells.

    Args:
        table: see ``coupling.directions``.
    """
    written = table.copy()
    for name in LISTS:
        written[name] = [json.dumps(cell, ensure_ascii=False) for cell in table[name]]
    return written.to_csv(index=False, float_format="%.6g")
