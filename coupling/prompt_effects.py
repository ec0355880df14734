"""What the choice of prompts does to the excess over chance: by category, and by the number of prompts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from coupling.dataset import per_prompt
from coupling.metrics import excess
from coupling.shares import K, find_k
from coupling.uncertainty import Estimate, excess_estimate

CATEGORY = "category"
"""The variable of a run that has its prompts' categories."""
LEVEL = 0.95
"""The confidence level of intervals."""
COUNTS = (2, 4, 8, 16, 32, 64, 128, 256)
"""Numbers of prompts of the bootstrap curve."""
ERRORS = (0.01, 0.005, 0.002, 0.001)
"""Standard errors of the excess for which the number of prompts is given."""
RESAMPLES = 2000


def by_category(run: xr.Dataset, k: K | None = None, norm: int = 2) -> list[dict[str, Any]]:
    """The excess of the prompts of each category, with its interval by Student's t.

    Args:
        run: a Dataset of ``analyze``.
        k: number of top singular vectors, or a share of the width such as "10%". Default: the run's largest.
        norm: p, 1 or 2.

    Returns:
        One row per category, by name: ``category``, ``prompts``, ``excess``, ``standard_error``, and the 95% interval
        ``low`` to ``high`` (None for a category of one prompt). Empty for a run without categories.

    Raises:
        CouplingError: if the run has no such k or norm.

    Example:
        >>> import coupling
        >>> run = coupling.analyze(k=3, limit=8)  # the bundled prompts have four categories
        >>> [(row["category"], row["prompts"]) for row in by_category(run)]
        [('arithmetic', 2), ('code', 2), ('common sense', 2), ('facts', 2)]
    """
    if CATEGORY not in run:
        return []
    at = find_k(run, int(run.k.values[-1]) if k is None else k, norm)
    names = run[CATEGORY].values.astype(str)
    rows = []
    for name in sorted(set(names.tolist())):
        chosen = run.isel(prompt=np.flatnonzero(names == name))
        rows.append({"category": name, "prompts": chosen.sizes["prompt"]} | _interval(chosen, at, norm))
    return rows


def _interval(run: xr.Dataset, k: int, norm: int) -> dict[str, Any]:
    found: Estimate = excess_estimate(run, k, norm)
    error = found.standard_error
    if error is None:
        return {"excess": found.value, "standard_error": None, "low": None, "high": None}
    half = float(stats.t.ppf((1 + LEVEL) / 2, run.sizes["prompt"] - 1)) * error
    return {"excess": found.value, "standard_error": error, "low": found.value - half, "high": found.value + half}


def error_curve(
    run: xr.Dataset,
    k: K | None = None,
    norm: int = 2,
    *,
    counts: Sequence[int] = COUNTS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[dict[str, Any]]:
    r"""The standard error of the excess by the number of prompts, by bootstrap.

    For each number n, prompts are drawn n at a time with replacement, and the standard deviation of

    .. math:: e = 1 - \frac{\sum_i m_i}{\sum_i c_i}

    over the draws is the error that n prompts like these would have; m is the mismatch of a prompt and c its chance
    level.

    Args:
        run: a Dataset of ``measure`` or ``analyze``.
        k: number of top singular vectors, or a share of the width such as "10%". Default: the run's largest.
        norm: p, 1 or 2.
        counts: numbers of prompts.
        resamples: the number of draws for each.
        seed: seed of the draws.

    Returns:
        One row per number: ``prompts`` and ``standard_error``. Empty for a run of fewer than three prompts, or of
        prompts without a finite score.

    Raises:
        CouplingError: if the run has no such k or norm.

    Source:
        Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 6.
    """
    at = find_k(run, int(run.k.values[-1]) if k is None else k, norm)
    mismatch, chance = (per_prompt(run, name).sel(k=at, norm=norm).values for name in ("mismatch", "chance"))
    if len(mismatch) < 3 or not np.isfinite(mismatch + chance).all():
        return []
    rows = []
    for count in counts:
        drawn = np.random.default_rng(seed).integers(len(mismatch), size=(resamples, count))
        rows.append({"prompts": count, "standard_error": _deviation(mismatch[drawn], chance[drawn])})
    return rows


def _deviation(mismatch: Float[np.ndarray, "draws n"], chance: Float[np.ndarray, "draws n"]) -> float:
    return float(np.std(excess(mismatch.mean(axis=1), chance.mean(axis=1)), ddof=1))


def prompts_needed(curve: Sequence[dict[str, Any]], errors: Sequence[float] = ERRORS) -> list[dict[str, Any]]:
    """How many prompts a standard error takes, by interpolation of a curve in the logarithms.

    Beyond the curve's ends the error falls with the square root of the number.

    Args:
        curve: of ``error_curve``.
        errors: standard errors.

    Returns:
        One row per error: ``standard_error`` and ``prompts``, rounded up. Empty where there is no curve, or no error.

    Example:
        >>> curve = [{"prompts": n, "standard_error": 0.04 / n**0.5} for n in (4, 16, 64)]
        >>> prompts_needed(curve, errors=(0.01, 0.002))
        [{'standard_error': 0.01, 'prompts': 16}, {'standard_error': 0.002, 'prompts': 400}]
    """
    if not curve or min(row["standard_error"] for row in curve) <= 0:
        return []
    counts = np.log([row["prompts"] for row in curve])
    found = np.log([row["standard_error"] for row in curve])
    rows = []
    for error in errors:
        at = np.log(error)
        if at >= found[0]:
            count = counts[0] + 2 * (found[0] - at)
        elif at <= found[-1]:
            count = counts[-1] + 2 * (found[-1] - at)
        else:
            count = float(np.interp(-at, -found, counts))
        rows.append({"standard_error": error, "prompts": max(1, int(np.ceil(np.exp(count) - 1e-6)))})
    return rows
