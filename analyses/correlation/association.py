"""How strongly is one column associated with another? Correlations, regressions and their uncertainty.

All are pure functions of arrays. SciPy and statsmodels compute; this module chooses the statistics, names them, and
refuses data that have none. The caller drops rows that contain a NaN.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from coupling.errors import CouplingError, require
from coupling.facts import counted

require("statsmodels", purpose="coupling correlate")

import statsmodels.api as sm  # noqa: E402

LEVEL = 0.95
"""The confidence level of every interval."""

RESAMPLES = 9999
"""Permutations, and bootstrap samples."""

FEWEST, FEW, FEWEST_BOOTSTRAP = 3, 5, 8
"""The fewest models for a correlation, for one that deserves trust, and for a bootstrap: with fewer than eight models
many resamples repeat one model so often that a column is constant."""
ENOUGH_FOR_T = 12
"""Rows from which on the p-value of Spearman's rho is that of Student's t."""

Vector = Float[np.ndarray, " n"]


def is_constant(x: Vector) -> bool:
    """Whether all values of a column are the same, up to rounding.

    Example:
        >>> is_constant(np.array([0.1 + 0.2, 0.3]))
        True
    """
    return bool(np.ptp(x) <= 1e-12 * np.abs(x).max())


def check_pair(x: Vector, y: Vector, names: tuple[str, str]) -> None:
    """Check that two columns have a correlation.

    Args:
        x: a column, (n,).
        y: another column, (n,).
        names: what the two are called in the error.

    Raises:
        CouplingError: if there are fewer than 3 rows, or a column is constant.
    """
    if len(x) < FEWEST:
        raise CouplingError(
            f"only {counted(len(x), 'model')} {'has' if len(x) == 1 else 'have'} both {names[0]} and {names[1]}; "
            f"a correlation needs at least {FEWEST}"
        )
    for column, name in zip((x, y), names, strict=True):
        check_varies(column, name)


def check_varies(x: Vector, name: str) -> None:
    """Check that a column is not constant.

    Args:
        x: the column, (n,).
        name: what it is called in the error.

    Raises:
        CouplingError: if all of its values are the same.
    """
    if is_constant(x):
        raise CouplingError(f"{name} is the same for all {len(x)} models ({x[0]:.6g}), so nothing correlates with it")


def association(x: Vector, y: Vector, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Correlations of two columns, the least-squares line of one on the other, and the uncertainty of both.

    R², slope and intercept are those of the least-squares line of y on x, with Student's interval of the slope.
    ``permutation_p`` is the two-sided p-value of Pearson's r under permutations of x, exact for few rows; below
    ``ENOUGH_FOR_T`` rows the p-value of Spearman's rho is of that kind, too, since Student's t is far off there.
    Bootstrap intervals resample pairs and are bias-corrected and accelerated (BCa; Efron 1987); they are None for fewer
    than 8 rows.

    Args:
        x: a predictor, (n,), not constant.
        y: what it predicts, (n,), not constant.
        seed: seed of permutations and bootstrap.
        resamples: number of permutations, and of bootstrap samples.

    Returns:
        A dictionary of floats, None where a number is not defined; intervals are [low, high] at 95%.

    Example:
        >>> found = association(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 6.0, 9.0]))
        >>> print(f"{found['slope']:.3f} {found['spearman']:.3f}")
        2.300 1.000
    """
    line = sm.OLS(y, sm.add_constant(x)).fit()
    low, high = line.conf_int(1 - LEVEL)[1]
    pearson, spearman, kendall = stats.pearsonr(x, y), stats.spearmanr(x, y), stats.kendalltau(x, y)
    return {
        "n": len(x),
        "r2": finite(line.rsquared),
        "r2_interval": bca(lambda a, b, axis=-1: pearson_r(a, b, axis) ** 2, x, y, seed, resamples),
        "slope": finite(line.params[1]),
        "slope_interval": interval(low, high),
        "intercept": finite(line.params[0]),
        "pearson": finite(pearson.statistic),
        "pearson_p": finite(pearson.pvalue),
        "pearson_interval": bca(pearson_r, x, y, seed, resamples),
        "spearman": finite(spearman.statistic),
        "spearman_p": _spearman_p(x, y, float(spearman.pvalue), seed, resamples),
        "spearman_interval": bca(spearman_r, x, y, seed, resamples),
        "kendall": finite(kendall.statistic),
        "kendall_p": finite(kendall.pvalue),
        "permutation_p": permutation_p(x, y, seed, resamples),
    }


def pearson_r(x: np.ndarray, y: np.ndarray, axis: int = -1) -> Any:
    """Pearson's r along an axis; unlike SciPy's function it does not compute a p-value for every resample."""
    a, b = (column - column.mean(axis, keepdims=True) for column in (x, y))
    return (a * b).sum(axis) / np.sqrt((a * a).sum(axis) * (b * b).sum(axis))


def spearman_r(x: np.ndarray, y: np.ndarray, axis: int = -1) -> Any:
    """Spearman's rho along an axis: Pearson's r of the ranks."""
    return pearson_r(stats.rankdata(x, axis=axis), stats.rankdata(y, axis=axis), axis)


def permutation_p(x: Vector, y: Vector, seed: int, resamples: int) -> float | None:
    """The two-sided p-value of Pearson's r under permutations of x; exact where there are few permutations."""
    permuted = stats.permutation_test(
        (x,),
        lambda a, axis=-1: pearson_r(a, y, axis),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    return finite(permuted.pvalue)


def _spearman_p(x: Vector, y: Vector, by_t: float, seed: int, resamples: int) -> float | None:
    """The p-value by Student's t, or for few rows by permutations: Spearman's rho is Pearson's r of the ranks."""
    if len(x) >= ENOUGH_FOR_T:
        return finite(by_t)
    return permutation_p(stats.rankdata(x), stats.rankdata(y), seed, resamples)


def bca(statistic: Callable[..., Any], x: Vector, y: Vector, seed: int, resamples: int) -> list[float] | None:
    """A bias-corrected and accelerated bootstrap interval over pairs; None where it is not defined."""
    if len(x) < FEWEST_BOOTSTRAP:
        return None
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # the missing interval says the same
        found = stats.bootstrap(
            (x, y),
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            confidence_level=LEVEL,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return interval(found.low, found.high)


def leave_out(x: Vector, y: Vector, groups: Sequence[str]) -> dict[str, Any] | None:
    """R² with each group left out in turn; a group is one model, or a family of models.

    Args:
        x: a predictor, (n,).
        y: what it predicts, (n,).
        groups: the group of each row, (n,).

    Returns:
        ``lowest`` and ``highest`` R², and ``without_lowest`` and ``without_highest``, the groups whose absence gives
        them; ``groups``, their number; ``each``, R² by the group left out. Groups without which fewer than 3 models or
        a constant column would remain are not left out; None where that is true of all of them.
    """
    names = np.asarray(groups)
    each = {}
    for group in dict.fromkeys(groups):
        kept = names != group
        if kept.sum() >= FEWEST and not is_constant(x[kept]) and not is_constant(y[kept]):
            each[group] = float(pearson_r(x[kept], y[kept]) ** 2)
    if not each:
        return None
    lowest, highest = min(each, key=each.__getitem__), max(each, key=each.__getitem__)
    return {
        "groups": len(set(groups)),
        "lowest": each[lowest],
        "without_lowest": lowest,
        "highest": each[highest],
        "without_highest": highest,
        "each": each,
    }


def between_groups(x: Vector, y: Vector, groups: Sequence[str]) -> dict[str, Any] | None:
    """The correlation of the groups' means: one point per family, so that a family of many models counts once.

    Args:
        x: a predictor, (n,).
        y: what it predicts, (n,).
        groups: the group of each row, (n,).

    Returns:
        ``n`` groups, ``r2``, ``pearson`` and its ``p``; None for fewer than 3 groups or constant means.
    """
    means = pd.DataFrame({"x": x, "y": y}).groupby(np.asarray(groups), sort=False).mean()
    a, b = means["x"].to_numpy(), means["y"].to_numpy()
    if len(means) < FEWEST or is_constant(a) or is_constant(b):
        return None
    found = stats.pearsonr(a, b)
    return {
        "n": len(means),
        "r2": float(found.statistic**2),
        "pearson": float(found.statistic),
        "p": finite(found.pvalue),
    }


def corrected(p_values: Sequence[float | None]) -> list[dict[str, float | None]]:
    """P-values corrected for multiple tests: Holm (family-wise error) and Benjamini-Hochberg (false discoveries).

    Args:
        p_values: one per test; those that are None do not count as tests.

    Returns:
        ``p_holm`` and ``p_bh`` of each test.
    """
    present = [p for p in p_values if p is not None]
    holm, bh = iter(_holm(present)), iter(stats.false_discovery_control(present) if len(present) > 1 else present)
    missing: dict[str, float | None] = {"p_holm": None, "p_bh": None}
    return [missing if p is None else {"p_holm": float(next(holm)), "p_bh": float(next(bh))} for p in p_values]


def _holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down p-values: (m - i) p_(i) of the i-th smallest of m, none below the one before (Holm 1979).

    statsmodels has them too, and collects garbage at every call: a third of a second each beside a loaded torch.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted.tolist()


def finite(value: Any) -> float | None:
    """A number as JSON can write it: None for NaN and infinities."""
    number = float(value)
    return number if math.isfinite(number) else None


def interval(low: Any, high: Any) -> list[float] | None:
    """Two finite bounds, or None."""
    bounds = [float(low), float(high)]
    return bounds if all(map(math.isfinite, bounds)) else None
