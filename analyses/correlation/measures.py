"""The measures of a run: every score that it contains, as named numbers."""

import re
from collections.abc import Sequence

import pandas as pd
import xarray as xr

from coupling import metrics
from coupling.choices import NORMS, VARIANTS
from coupling.dataset import per_prompt
from coupling.sinks import skipped

PLAIN = VARIANTS[0]
"""The variant that a measure's name does not mention."""

OF_TOKENS = ("line-shape score", "expodistance", "residual growth")
"""Measures that are medians over tokens."""


def measure_name(quantity: str, k: int, norm: int, variant: str = PLAIN.label) -> str:
    """The name of a measure.

    Example:
        >>> measure_name("excess", 10, 2), measure_name("coupling", 10, 1, "signed")
        ('excess K=10 p=2', 'coupling K=10 p=1 signed')
    """
    return f"{quantity} K={k} p={norm}" + ("" if variant == PLAIN.label else f" {variant}")


_VARIANT_SUFFIX = "|".join(f" {re.escape(variant.label)}" for variant in VARIANTS[1:])
_MEASURE = re.compile(
    rf"(?:coupling|excess|chance) K=\d+ p=(?:{'|'.join(map(str, NORMS))})(?P<variant>{_VARIANT_SUFFIX})?"
)


def is_measure(name: str) -> bool:
    """Whether a column of a table is a measure."""
    return name in OF_TOKENS or _MEASURE.fullmatch(name) is not None


def is_plain(measure: str) -> bool:
    """Whether a measure is neither signed nor swapped."""
    match = _MEASURE.fullmatch(measure)
    return match is None or match["variant"] is None


def measures_of(run: xr.Dataset) -> dict[str, float]:
    """Every score that a run contains, by name.

    For each K, p and variant: the excess, and the coupling (the mean over pairs and prompts). For each K and p: the
    chance level, with which a score correlates that reflects nothing but the spectrum. Then the medians over tokens of
    line-shape score, expodistance and the growth of the residual norm.

    Args:
        run: a Dataset that ``measure`` or ``analyze`` returned.
    """
    names = [str(name) for name in run if str(name).startswith(("mismatch", "chance"))]
    means = {name: per_prompt(run, name).mean("prompt") for name in names}
    excesses: dict[str, float] = {}
    couplings: dict[str, float] = {}
    chances: dict[str, float] = {}
    for k in run.k.values.tolist():
        for norm in run.norm.values.tolist():
            chances[measure_name("chance", k, norm)] = 1 - float(means["chance"].sel(k=k, norm=norm))
            for variant in VARIANTS:
                mismatch = float(means[variant.variable()].sel(k=k, norm=norm))
                chance = float(means[variant.variable("chance")].sel(k=k, norm=norm))
                excesses[measure_name("excess", k, norm, variant.label)] = float(metrics.excess(mismatch, chance))
                couplings[measure_name("coupling", k, norm, variant.label)] = 1 - mismatch
    kept = run.isel(token=slice(skipped(run), None))  # without an attention sink
    growth = kept.residual_norm.isel(layer=-1) / kept.residual_norm.isel(layer=0)
    medians = (float(values.median()) for values in (kept.line_shape_score, kept.expodistance, growth))
    of_tokens: dict[str, float] = dict(zip(OF_TOKENS, medians, strict=True))
    return excesses | couplings | chances | of_tokens


def default_measure(frame: pd.DataFrame, measures: Sequence[str]) -> str:
    """The excess over chance at p = 2 and the largest K among those that most models have, or the first measure.

    It is the excess because a score alone includes what a flat spectrum yields. It is at p = 2 by convention: the
    excesses at p = 1 and p = 2 are nearly equal.

    Args:
        frame: one row per model, one column per measure.
        measures: the names of the measures.
    """
    candidates = [
        (int(frame[name].notna().sum()), int(match[1]), name)
        for name in measures
        if (match := re.fullmatch(r"excess K=(\d+) p=2", name))
    ]
    return max(candidates)[2] if candidates else measures[0]
