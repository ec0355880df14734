r"""What of the published coupling is its chance level? The curve that random frames would lie on, and what is left.

With K equal singular values and frames that share nothing, coupling at p = 1 is :math:`1 - 1/\sqrt{K}`. For K = d/10
that is :math:`1 - \sqrt{10/d}`: a number that knows nothing of a model but its width d.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm

from coupling.analyses.correlation.association import (
    LEVEL,
    RESAMPLES,
    Vector,
    association,
    finite,
    interval,
)
from coupling.analyses.correlation.joint import joint_regression
from coupling.analyses.correlation.models import ModelTable

SHARE = "10%"
"""The K of the curve, as a share of the width."""
CHANCE = "chance at K = d/10"
"""The predictor that knows nothing of a model but its width."""
OFF_CURVE = 0.1
"""A model whose ``1 - coupling`` exceeds that of chance by more than this share is off the curve: its spectrum would
have to be steeper than flat."""


def chance_at_a_tenth(width: Vector) -> Vector:
    r"""``1 - sqrt(10 / d)``: coupling at p = 1 and K = d/10, for a flat spectrum and frames that share nothing.

    Example:
        >>> float(chance_at_a_tenth(np.array(1000.0)))
        0.9
    """
    return 1 - np.sqrt(10 / np.asarray(width, dtype=float))


def against_chance(
    table: ModelTable, score: str, benchmark: str, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """How much of a score at p = 1, and of its correlation with a benchmark, the chance curve of K = d/10 explains.

    Args:
        table: models with ``width``, the score and the benchmark.
        score: the column of the score.
        benchmark: the column of the benchmark.
        seed: seed of permutations and bootstrap.
        resamples: number of permutations, and of bootstrap samples.

    Returns:
        ``score`` and ``benchmark``: the association of each with chance; ``left``: that of what is left of the score
        above chance, relative to ``1 - chance``, with the benchmark; ``scaled_median``: the median of ``(1 - score)
        sqrt(d)``, and ``scaled_chance``, what chance gives; ``off_curve``: the models off the curve, each with the
        quotient of ``1 - score`` and that of chance; ``power_law``: the regression of ``log(1 - score)`` on ``log d``
        and ``partial``: the partial correlations with the benchmark, of the score given chance and of chance given the
        score, each for all models and ``without_off_curve``.
    """
    rows = table.frame.dropna(subset=[score, benchmark, "width"])
    x, y, width = (rows[name].to_numpy(dtype=float) for name in (score, benchmark, "width"))
    chance = chance_at_a_tenth(width)
    quotient = (1 - x) / (1 - chance)
    off = quotient > 1 + OFF_CURVE
    left = 1 - quotient  # ((1 - chance) - (1 - score)) / (1 - chance), the excess over chance
    names = np.array([str(name) for name in rows.index])
    return {
        "share": SHARE,
        "n": len(rows),
        "score": association(chance, x, seed=seed, resamples=resamples),
        "benchmark": association(chance, y, seed=seed, resamples=resamples),
        "left": association(left, y, seed=seed, resamples=resamples),
        "scaled_median": float(np.median((1 - x) * np.sqrt(width))),
        "scaled_chance": float(np.sqrt(10)),
        "off_curve": [
            {"model": name, "quotient": float(value)} for name, value in zip(names[off], quotient[off], strict=True)
        ],
        "power_law": {"all": _power_law(width, x), "without_off_curve": _power_law(width[~off], x[~off])},
        "partial": {
            "all": _partial(x, chance, y, score),
            "without_off_curve": _partial(x[~off], chance[~off], y[~off], score),
        },
    }


def _power_law(width: Vector, score: Vector) -> dict[str, Any]:
    """The regression of ``log(1 - score)`` on ``log d``; random frames give the exponent -1/2."""
    fit = sm.OLS(np.log(1 - score), sm.add_constant(np.log(width))).fit()
    return {
        "n": len(width),
        "exponent": finite(fit.params[1]),
        "standard_error": finite(fit.bse[1]),
        "interval": interval(*fit.conf_int(1 - LEVEL)[1]),
        "r2": finite(fit.rsquared),
    }


def _partial(score: Vector, chance: Vector, benchmark: Vector, name: str) -> list[dict[str, Any]]:
    """The partial correlation of the score with the benchmark given chance, and of chance given the score."""
    fit = joint_regression(pd.DataFrame({name: score, CHANCE: chance}), benchmark)
    return [
        {key: term[key] for key in ("name", "partial", "partial_interval", "p")} | {"n": fit["n"]}
        for term in fit["terms"]
    ]


def with_chance(table: ModelTable) -> ModelTable:
    """A table with chance at K = d/10 as a further predictor.

    Args:
        table: with ``width``.
    """
    frame = table.frame.assign(**{CHANCE: chance_at_a_tenth(table.frame["width"].to_numpy(dtype=float))})
    return ModelTable(**vars(table) | {"frame": frame, "predictors": (*table.predictors, CHANCE)})


def names_of(off_curve: Sequence[dict[str, Any]]) -> list[str]:
    """The names of the models off the curve, the farthest first."""
    return [row["model"] for row in sorted(off_curve, key=lambda row: -row["quotient"])]
