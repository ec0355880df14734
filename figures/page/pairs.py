"""The rows behind the report's heatmap and circle: the coupling of all pairs for every choice of the controls.

Each row contains its matrix as one array, and the browser unfolds the row that is chosen. This keeps a page with
thousands of matrices small.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
import xarray as xr
from jaxtyping import Float

from coupling.choices import VARIANTS
from coupling.dataset import is_depth, off_diagonal
from coupling.figures.circle import LEAST_SCALE, symmetric_excess
from coupling.figures.page.contents import MEAN
from coupling.figures.page.vega import SCALE, Row, in_parts
from coupling.figures.selection import pair_names, token_texts
from coupling.metrics import excess

Pairs = Float[np.ndarray, "first second"]


def pair_rows(run: xr.Dataset, prompts: list[int], most_tokens: int) -> list[Row]:
    """One row per variant, prompt, K and p, and per block where tokens are compared.

    Args:
        run: any run.
        prompts: numbers of prompts; ``MEAN`` is left out where tokens are compared.
        most_tokens: how many measured tokens are kept where tokens are compared.

    Returns:
        Rows with the choice (``k``, ``p``, ``v``, ``t``, ``block``), the couplings of all ordered pairs (``c``), the
        excess of all unordered pairs (``e``; empty where tokens are compared), and the means over the pairs.
    """
    depth = is_depth(run)
    groups = [""] if depth else pair_names(run)
    rows = []
    for choice, at_choice, mismatch, chance in _choices(run, prompts):
        for group, block in enumerate(groups):
            m, m_chance = mismatch[(*at_choice, group)].mean(axis=0), chance[(*at_choice, group)].mean(axis=0)
            row = dict(choice)
            if not depth:
                measured = np.flatnonzero(np.isfinite(m).any(axis=1))[:most_tokens]
                m, m_chance = m[np.ix_(measured, measured)], m_chance[np.ix_(measured, measured)]
                texts = token_texts(run, choice["t"])
                row |= {"block": block, "names": [f"{token} {texts[token]}" for token in measured]}
            row |= _numbers(m, m_chance)
            row["e"] = in_parts(symmetric_excess(m, m_chance)[np.tril_indices(len(m), -1)]) if depth else []
            rows.append(row)
    return rows


def _choices(run: xr.Dataset, prompts: list[int]) -> Iterator[tuple[Row, tuple, np.ndarray, np.ndarray]]:
    """Every choice of the controls, its index into the first three axes of the arrays, and the two arrays."""
    for variant in VARIANTS:
        mismatch, chance = (_all_pairs(run, variant.variable(quantity)) for quantity in ("mismatch", "chance"))
        for prompt, (k_index, k), (p_index, p) in product(prompts, enumerate(run.k.values), enumerate(run.norm.values)):
            if prompt == MEAN and not is_depth(run):
                continue
            which_prompts = slice(None) if prompt == MEAN else slice(prompt, prompt + 1)
            choice = {"k": int(k), "p": int(p), "v": variant.label, "t": prompt}
            yield choice, (which_prompts, k_index, p_index), mismatch, chance


def _all_pairs(run: xr.Dataset, variable: str) -> Float[np.ndarray, "prompt k norm group first second"]:
    """A variable over pairs, NaN where a Jacobian is compared with itself.

    Where tokens are compared, each block is a group; otherwise there is one group.
    """
    values = off_diagonal(run, variable)
    if not is_depth(run):
        return values.transpose("prompt", "k", "norm", "block", "token", "other_token").values
    if "token" in values.dims:
        values = values.mean("token")
    return values.transpose("prompt", "k", "norm", "block", "other_block").values[:, :, :, None]


def _numbers(mismatch: Pairs, chance: Pairs) -> Row:
    mean, mean_chance = float(np.nanmean(mismatch)), float(np.nanmean(chance))
    return {
        "c": in_parts(1 - mismatch),
        "chance": round(1 - mean_chance, 5),
        "mean": round(1 - mean, 5),
        "excess": round(float(excess(mean, mean_chance)), 5),
    }


def join_scales(tables: list[list[Row]]) -> None:
    """Give equal choices of several runs equal color scales and chord widths, in place.

    Args:
        tables: the rows of each run.
    """
    rows_of_choice: dict[tuple, list[Row]] = {}
    for row in [row for table in tables for row in table]:
        rows_of_choice.setdefault((row["k"], row["p"], row["v"], row["t"]), []).append(row)
    for rows in rows_of_choice.values():
        couplings = [value for row in rows for value in row["c"] if value is not None]
        excesses = [value for row in rows for value in row["e"] if value is not None]
        for row in rows:
            row["range"] = [min(couplings, default=0), max(couplings, default=1)]
            row["strongest"] = max([*excesses, round(LEAST_SCALE * SCALE)])
            row["any"] = any(value is not None and value > 0 for value in row["e"])
