"""Several predictors at once: least squares, partial correlations and their intervals."""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from coupling.analyses.correlation.association import LEVEL, Vector, finite, interval, is_constant
from coupling.errors import CouplingError, require

require("statsmodels", purpose="coupling correlate")

import statsmodels.api as sm  # noqa: E402
from statsmodels.stats.outliers_influence import variance_inflation_factor  # noqa: E402


def joint_regression(predictors: pd.DataFrame, y: Vector) -> dict[str, Any]:
    """Least squares of y on several predictors at once.

    Every column is standardized (mean 0, standard deviation 1), so that coefficients can be compared. The partial
    correlation of a predictor given the others is ``t / sqrt(t^2 + n - k - 1)``; its p-value is that of the
    coefficient, and its interval is Fisher's: ``atanh(r)`` has the standard error ``1 / sqrt(n - 3 - (k - 1))`` (Fisher
    1924).

    Args:
        predictors: (n, k), one column per predictor.
        y: what they predict, (n,).

    Returns:
        ``n``, ``r2``, ``adjusted_r2``, and ``terms``: one row per predictor with ``coefficient`` and its ``interval``,
        ``t``, ``p``, ``partial`` and its ``partial_interval``, and ``vif`` (variance inflation factor).

    Raises:
        CouplingError: if there are too few rows, a column is constant, or the predictors are linearly dependent.
    """
    n, k = predictors.shape
    if n < k + 2:
        raise CouplingError(f"{k} predictors need at least {k + 2} models, and there are {n}")
    for name in predictors:
        if is_constant(predictors[name].to_numpy()):
            raise CouplingError(f"{name} is the same for all {n} models")
    z = ((predictors - predictors.mean()) / predictors.std(ddof=1)).to_numpy()
    if np.linalg.matrix_rank(z, tol=1e-8 * math.sqrt(n)) < k:
        raise CouplingError("the predictors are linearly dependent, so their effects cannot be separated")
    design = sm.add_constant(z)
    fit = sm.OLS((y - y.mean()) / y.std(ddof=1), design).fit()
    limits = fit.conf_int(1 - LEVEL)
    terms = []
    for column, name in enumerate(predictors, 1):  # column 0 of the design is the constant
        t = float(fit.tvalues[column])
        partial = finite(t / math.sqrt(t * t + fit.df_resid)) if math.isfinite(t) else None
        terms.append(
            {
                "name": name,
                "coefficient": finite(fit.params[column]),
                "interval": interval(*limits[column]),
                "t": finite(t),
                "p": finite(fit.pvalues[column]),
                "partial": partial,
                "partial_interval": fisher_interval(partial, n - (k - 1)),
                "vif": finite(variance_inflation_factor(design, column)),
            }
        )
    return {"n": n, "r2": finite(fit.rsquared), "adjusted_r2": finite(fit.rsquared_adj), "terms": terms}


def fisher_interval(r: float | None, n: int) -> list[float] | None:
    """Fisher's interval of a correlation of n points; None for fewer than four, or for points on a line.

    Example:
        >>> [round(bound, 3) for bound in fisher_interval(0.5, 28)]
        [0.156, 0.736]
    """
    if r is None or n < 4 or abs(r) >= 1:
        return None
    half = stats.norm.ppf((1 + LEVEL) / 2) / math.sqrt(n - 3)
    return [math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)]
