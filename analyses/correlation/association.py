"""Does one column go with another? Correlations, regressions and their uncertainty, as pure functions of arrays.

SciPy and statsmodels compute; this module chooses, names and guards. Rows that hold a NaN are the caller's to drop.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from jaxtyping import Float
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.outliers_influence import variance_inflation_factor

from coupling.errors import CouplingError

LEVEL = 0.95
"""Of every interval."""

RESAMPLES = 9999
FEWEST, FEW, FEWEST_BOOTSTRAP = 3, 5, 8
"""Models without which there is no correlation, little trust in one, and no bootstrap: most resamples of fewer than
eight models repeat so many that some are constant."""

Vector = Float[np.ndarray, " n"]


def is_constant(x: Vector) -> bool:
    """Whether a column has one value, up to rounding."""
    return bool(np.ptp(x) <= 1e-12 * np.abs(x).max())


def check_pair(x: Vector, y: Vector, names: tuple[str, str]) -> None:
    """Refuse what has no correlation.

    Args:
        x: a column.
        y: another, as long.
        names: what the two are called in the error.

    Raises:
        CouplingError: if there are fewer than 3 rows, or a column is constant.
    """
    if len(x) < FEWEST:
        raise CouplingError(
            f"only {len(x)} models have both {names[0]} and {names[1]}; a correlation needs at least {FEWEST}"
        )
    for column, name in zip((x, y), names, strict=True):
        if is_constant(column):
            raise CouplingError(
                f"{name} is the same for all {len(x)} models ({column[0]:.6g}), so nothing correlates with it"
            )


def association(x: Vector, y: Vector, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """How two columns go together.

    R^2, slope and intercept are those of the least-squares line of y on x, with Student's interval of the slope.
    ``permutation_p`` is two-sided, of Pearson's r, exact for few rows. Bootstrap intervals are BCa
    (Efron 1987), over pairs; None for fewer than 8 rows.

    Args:
        x: a predictor, (n,), not constant.
        y: what it predicts, (n,), not constant.
        seed: of permutations and bootstrap.
        resamples: how many of each.

    Returns:
        A dictionary of floats, None where a number is not defined; intervals are [low, high] at 95 %.
    """
    line = sm.OLS(y, sm.add_constant(x)).fit()
    low, high = line.conf_int(1 - LEVEL)[1]
    pearson, spearman, kendall = stats.pearsonr(x, y), stats.spearmanr(x, y), stats.kendalltau(x, y)
    permuted = stats.permutation_test(
        (x,), lambda a, axis=-1: pearson_r(a, y, axis), permutation_type="pairings", vectorized=True,
        n_resamples=resamples, rng=np.random.default_rng(seed),
    )  # fmt: skip
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
        "spearman_p": finite(spearman.pvalue),
        "spearman_interval": bca(spearman_r, x, y, seed, resamples),
        "kendall": finite(kendall.statistic),
        "kendall_p": finite(kendall.pvalue),
        "permutation_p": finite(permuted.pvalue),
    }


def pearson_r(x: np.ndarray, y: np.ndarray, axis: int = -1) -> Any:
    """Pearson's r along an axis; SciPy's, without the p-value that would be computed for every resample."""
    a, b = (column - column.mean(axis, keepdims=True) for column in (x, y))
    return (a * b).sum(axis) / np.sqrt((a * a).sum(axis) * (b * b).sum(axis))


def spearman_r(x: np.ndarray, y: np.ndarray, axis: int = -1) -> Any:
    """Spearman's rho along an axis: Pearson's r of the ranks."""
    return pearson_r(stats.rankdata(x, axis=axis), stats.rankdata(y, axis=axis), axis)


def bca(statistic: Callable[..., Any], x: Vector, y: Vector, seed: int, resamples: int) -> list[float] | None:
    """A bias-corrected and accelerated bootstrap interval over pairs; None where it is not defined."""
    if len(x) < FEWEST_BOOTSTRAP:
        return None
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # said by the missing interval
        found = stats.bootstrap(
            (x, y), statistic, paired=True, vectorized=True, n_resamples=resamples, confidence_level=LEVEL,
            method="BCa", rng=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
    return interval(found.low, found.high)


def joint_regression(predictors: pd.DataFrame, y: Vector) -> dict[str, Any]:
    """Least squares of y on several predictors at once.

    Every column is standardized (mean 0, standard deviation 1), so that coefficients compare. The partial correlation
    of a predictor given the others is ``t / sqrt(t^2 + n - k - 1)``, and its p-value that of the coefficient.

    Args:
        predictors: (n, k), a column each.
        y: (n,).

    Returns:
        ``n``, ``r2``, ``adjusted_r2``, and ``terms``: a row for each predictor with ``coefficient`` and its
        ``interval``, ``t``, ``p``, ``partial`` and ``vif`` (variance inflation factor).

    Raises:
        CouplingError: if there are too few rows, or the predictors are linearly dependent.
    """
    n, k = predictors.shape
    if n < k + 2:
        raise CouplingError(f"{k} predictors need at least {k + 2} models, and there are {n}")
    for name in predictors:
        if is_constant(predictors[name].to_numpy()):
            raise CouplingError(f"{name} is the same for all {n} models")
    z = ((predictors - predictors.mean()) / predictors.std(ddof=1)).to_numpy()
    if np.linalg.matrix_rank(z, tol=1e-8 * math.sqrt(n)) < k:
        raise CouplingError("the predictors are linearly dependent, so their shares cannot be told apart")
    design = sm.add_constant(z)
    fit = sm.OLS((y - y.mean()) / y.std(ddof=1), design).fit()
    limits = fit.conf_int(1 - LEVEL)
    terms = []
    for at, name in enumerate(predictors, 1):
        t = float(fit.tvalues[at])
        terms.append({
            "name": name,
            "coefficient": finite(fit.params[at]),
            "interval": interval(*limits[at]),
            "t": finite(t),
            "p": finite(fit.pvalues[at]),
            "partial": finite(t / math.sqrt(t * t + fit.df_resid)) if math.isfinite(t) else None,
            "vif": finite(variance_inflation_factor(design, at)),
        })  # fmt: skip
    return {"n": n, "r2": finite(fit.rsquared), "adjusted_r2": finite(fit.rsquared_adj), "terms": terms}


def leave_out(x: Vector, y: Vector, groups: Sequence[str]) -> dict[str, Any] | None:
    """R^2 again and again, each time without one group; a group may be one model, or a family of them.

    Args:
        x: a predictor, (n,).
        y: what it predicts, (n,).
        groups: every row's group, n of them.

    Returns:
        ``lowest`` and ``highest`` R^2 with ``without_lowest`` and ``without_highest``, the groups whose absence gives
        them; ``groups``, how many there are; ``each``, R^2 by the group left out. None where fewer than 3 models, or
        a constant, would always be left.
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
    """The correlation of the groups' means: one point a family, so that many models of one count once.

    Returns:
        ``n`` groups, ``r2``, ``pearson`` and its ``p``; None for fewer than 3 groups or a constant.
    """
    means = pd.DataFrame({"x": x, "y": y}).groupby(np.asarray(groups), sort=False).mean()
    a, b = means["x"].to_numpy(), means["y"].to_numpy()
    if len(means) < FEWEST or is_constant(a) or is_constant(b):
        return None
    found = stats.pearsonr(a, b)
    return {"n": len(means), "r2": float(found.statistic**2), "pearson": float(found.statistic),
            "p": finite(found.pvalue)}  # fmt: skip


def corrected(p_values: Sequence[float | None]) -> list[dict[str, float | None]]:
    """P-values corrected for being several: Holm (family-wise error) and Benjamini-Hochberg (false discoveries).

    Args:
        p_values: None where there is none; those are not counted.
    """
    held = [p for p in p_values if p is not None]
    if not held:
        return [{"p_holm": None, "p_bh": None} for _ in p_values]
    if len(held) == 1:
        holm, bh = iter(held), iter(held)
    else:
        holm, bh = iter(multipletests(held, method="holm")[1]), iter(stats.false_discovery_control(held))
    missing: dict[str, float | None] = {"p_holm": None, "p_bh": None}
    return [missing if p is None else {"p_holm": float(next(holm)), "p_bh": float(next(bh))} for p in p_values]


def finite(value: Any) -> float | None:
    """A float as JSON knows it; None for NaN and infinities."""
    number = float(value)
    return number if math.isfinite(number) else None


def interval(low: Any, high: Any) -> list[float] | None:
    """Two finite bounds, or None."""
    bounds = [float(low), float(high)]
    return bounds if all(map(math.isfinite, bounds)) else None
