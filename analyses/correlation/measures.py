"""The measures of a run: every score that it contains, as named numbers."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd
import xarray as xr

from coupling import calibrated, metrics
from coupling.baseline_means import baseline_means
from coupling.choices import BASELINES, CALIBRATED, NORMS, VARIANTS
from coupling.dataset import per_prompt
from coupling.shares import K, labels_of
from coupling.sinks import skipped, without_first

PLAIN = VARIANTS[0]
"""The variant that a measure's name does not mention."""

OF_TOKENS = ("line-shape score", "expodistance", "residual growth")
"""Measures that are medians over tokens."""

OF_BASELINES = tuple(baseline.label for baseline in BASELINES)
"""Measures that coupling is compared with; runs have them where they were asked for."""
LOSSES = ("held-out bits per byte", "held-out loss")
"""Of these, those beyond which a measure should predict; the first that is known counts."""


def measure_name(quantity: str, k: K, norm: int | None = None, variant: str = PLAIN.label) -> str:
    """The name of a measure; calibrated measures have no p.

    Example:
        >>> measure_name("excess", 10, 2), measure_name("coupling", "10%", 1, "signed")
        ('excess K=10 p=2', 'coupling K=10% p=1 signed')
        >>> measure_name("diagonal share", 10)
        'diagonal share K=10'
    """
    name = f"{quantity} K={k}" + ("" if norm is None else f" p={norm}")
    return name + ("" if variant == PLAIN.label else f" {variant}")


_K = r"K=(?:\d+(?:\.\d+)?%|\d+)"
_CALIBRATED = re.compile(rf"(?:{'|'.join(measure.label for measure in CALIBRATED)})(?: z)? {_K}")
_VARIANT_SUFFIX = "|".join(f" {re.escape(variant.label)}" for variant in VARIANTS[1:])
_MEASURE = re.compile(
    rf"(?:coupling|excess|chance) {_K} p=(?:{'|'.join(map(str, NORMS))})(?P<variant>{_VARIANT_SUFFIX})?"
)


def is_measure(name: str) -> bool:
    """Whether a column of a table is a measure."""
    return (
        name in OF_TOKENS
        or name in OF_BASELINES
        or any(form.fullmatch(name) is not None for form in (_MEASURE, _CALIBRATED))
    )


def is_plain(measure: str) -> bool:
    """Whether a measure is neither signed nor swapped."""
    match = _MEASURE.fullmatch(measure)
    return match is None or match["variant"] is None


def measures_of(run: xr.Dataset) -> dict[str, float]:
    """Every score that a run contains, by name.

    For each K, p and variant: the excess, and the coupling (the mean over pairs and prompts). For each K and p: the
    chance level, with which a score correlates that reflects nothing but the spectrum. For each K: the calibrated
    measures and their z-scores. Then the medians over tokens of line-shape score, expodistance and the growth of the
    residual norm, and the baselines where the run has them. A K that was asked for as a share of the width is named by
    the share, such as ``K=10%``.

    Args:
        run: a Dataset that ``measure`` or ``analyze`` returned.
    """
    run = without_first(run)
    names = {variant.variable(quantity) for variant in VARIANTS for quantity in ("mismatch", "chance")}
    means = {name: per_prompt(run, name).mean("prompt") for name in names}
    excesses: dict[str, float] = {}
    couplings: dict[str, float] = {}
    chances: dict[str, float] = {}
    of_pairs: dict[str, float] = {}
    calibrated_means = {measure: calibrated.means(run, measure.name) for measure in calibrated.measures_in(run)}
    for number, k in _asked(run):
        for norm in run.norm.values.tolist():
            chances[measure_name("chance", k, norm)] = 1 - float(means["chance"].sel(k=number, norm=norm))
            for variant in VARIANTS:
                mismatch = float(means[variant.variable()].sel(k=number, norm=norm))
                chance = float(means[variant.variable("chance")].sel(k=number, norm=norm))
                excesses[measure_name("excess", k, norm, variant.label)] = float(metrics.excess(mismatch, chance))
                couplings[measure_name("coupling", k, norm, variant.label)] = 1 - mismatch
        for measure, (value, _, z) in calibrated_means.items():
            of_pairs[measure_name(measure.label, k)] = float(value.sel(k=number).mean())
            of_pairs[measure_name(f"{measure.label} z", k)] = float(z.sel(k=number).mean())
    kept = run.isel(token=slice(skipped(run), None))  # without an attention sink
    growth = kept.residual_norm.isel(layer=-1) / kept.residual_norm.isel(layer=0)
    medians = (float(values.median()) for values in (kept.line_shape_score, kept.expodistance, growth))
    of_tokens: dict[str, float] = dict(zip(OF_TOKENS, medians, strict=True))
    return excesses | couplings | chances | of_pairs | of_tokens | baseline_means(run)


def _asked(run: xr.Dataset) -> list[tuple[int, K]]:
    """Every K of a run as a number, with each way in which it was asked for."""
    numbers = run.k.values.tolist()
    return [(number, label) for number, labels in zip(numbers, labels_of(run), strict=True) for label in labels]


def largest_k(measures: Iterable[str]) -> K:
    """The largest K among the names of measures; a share of the width where there are no numbers.

    Example:
        >>> largest_k(["coupling K=5 p=2", "coupling K=10 p=2"]), largest_k(["coupling K=10% p=2"])
        (10, '10%')
    """
    ks = [match[1] for name in measures if (match := re.fullmatch(r"coupling K=([\d.]+%?) p=2", name))]
    numbers = [int(k) for k in ks if not k.endswith("%")]
    return max(numbers) if numbers else max(ks, key=lambda k: float(k[:-1]))


def default_measure(frame: pd.DataFrame, measures: Sequence[str]) -> str:
    """The excess over chance at p = 2 and the largest K among those that most models have, or the first measure.

    It is the excess because a score alone includes what a flat spectrum yields. It is at p = 2 by convention: the
    excesses at p = 1 and p = 2 are nearly equal.

    Args:
        frame: one row per model, one column per measure.
        measures: the names of the measures.
    """
    candidates = [
        (int(frame[name].notna().sum()), not match[2], float(match[1]), name)
        for name in measures
        if (match := re.fullmatch(r"excess K=([\d.]+)(%?) p=2", name))
    ]
    return max(candidates)[-1] if candidates else measures[0]
