"""The coupling and the excess of all pairs for every choice of the controls, which several charts draw."""

import warnings
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from coupling.choices import VARIANTS, Variant
from coupling.dataset import is_depth, off_diagonal
from coupling.figures.page.packing import packed, short
from coupling.figures.page.section import MEAN, Material, key
from coupling.figures.selection import pair_names, token_texts
from coupling.metrics import excess
from coupling.uncertainty import excess_estimate

Pairs = Float[np.ndarray, "first second"]


def pair_tables(material: Material) -> list[dict[str, Any]]:
    """For each run, its tables by choice: K, p, variant, prompt, and block where tokens are compared.

    A table has the coupling ``c`` and the excess ``e`` of all ordered pairs, and ``means``: for each number of first
    tokens left out the mean coupling, the chance level, the excess, and the standard error of the excess.
    """
    return [_tables(material, run) for run in material.runs]


def measured_tokens(run: xr.Dataset, prompt: int) -> list[int]:
    """The tokens of a prompt that a run compares."""
    largest = run.singular_values.isel(prompt=prompt, rank=0)
    others = [dim for dim in largest.dims if dim != "token"]
    return np.flatnonzero(np.isfinite(largest.values).any(largest.get_axis_num(others))).tolist()


def _tables(material: Material, run: xr.Dataset) -> dict[str, Any]:
    depth = is_depth(run)
    tables: dict[str, Any] = {}
    for choice, mismatch, chance, variant in _choices(material, run):
        _, _, _, prompt = choice
        bits = 16 if prompt == MEAN else material.extent.bits
        if depth:
            tables[key(*choice)] = _packed(mismatch[0], chance[0], bits) | {
                "means": [_means(mismatch[0], chance[0], _error(run, choice, variant))]
            }
            continue
        measured = np.array(measured_tokens(run, prompt), dtype=int)
        kept = measured[: material.extent.tokens]
        at = np.ix_(kept, kept)
        for block, m, m_chance in zip(pair_names(run), mismatch, chance, strict=True):
            means = [
                _means(m[np.ix_(rest, rest)], m_chance[np.ix_(rest, rest)], None)
                for rest in (measured[measured >= skip] for skip in material.skips)
            ]
            tables[key(*choice, block)] = _packed(m[at], m_chance[at], bits) | {"means": means}
    result: dict[str, Any] = {"tables": tables}
    if not depth:
        result["tokens"] = {
            str(prompt): measured_tokens(run, prompt)[: material.extent.tokens]
            for prompt in range(material.extent.prompts)
        }
        result["texts"] = {str(prompt): token_texts(run, prompt) for prompt in range(material.extent.prompts)}
    return result


def _choices(material: Material, run: xr.Dataset) -> Iterator[tuple[tuple, np.ndarray, np.ndarray, Variant]]:
    """Every choice of the controls that the page contains, with mismatch and chance (group, first, second)."""
    for index, variant in enumerate(VARIANTS):
        mismatch, chance = (_all_pairs(run, variant.variable(quantity)) for quantity in ("mismatch", "chance"))
        for prompt, k_index, (p_index, p) in product(
            material.prompts, range(run.sizes["k"]), enumerate(run.norm.values.tolist())
        ):
            if (prompt == MEAN and not is_depth(run)) or (prompt != MEAN and index >= material.extent.variants):
                continue
            at = (slice(None) if prompt == MEAN else slice(prompt, prompt + 1), k_index, p_index)
            choice = (k_index, p, variant.label, prompt)
            yield choice, mismatch[at].mean(axis=0), chance[at].mean(axis=0), variant


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


def _packed(mismatch: Pairs, chance: Pairs, bits: int) -> dict[str, Any]:
    return {"c": packed(1 - mismatch, bits), "e": packed(excess(mismatch, chance), bits)}


def _error(run: xr.Dataset, choice: tuple, variant: Variant) -> float | None:
    k_index, p, _, prompt = choice
    if prompt != MEAN:
        return None
    return excess_estimate(run, int(run.k.values[k_index]), p, variant).standard_error


def _means(mismatch: Pairs, chance: Pairs, error: float | None) -> list[float | None]:
    with warnings.catch_warnings():  # the mean over no pair is NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        mean, mean_chance = float(np.nanmean(mismatch)), float(np.nanmean(chance))
    return [short(1 - mean), short(1 - mean_chance), short(float(excess(mean, mean_chance))), short(error)]
