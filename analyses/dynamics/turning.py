r"""Where in training a measure rises most steeply, peaks and settles, with bootstrap intervals.

A model's curve is the mean over seeds and prompts, at the checkpoints, on the axis :math:`x = \ln(1 + \mathrm{step})`,
which has a place for step 0. No point between checkpoints is made up: all results are resolved to the checkpoints.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from coupling.errors import CouplingError
from coupling.shares import K, rows_at_k

POINTS = ("steepest_rise", "peak", "plateau")
TOLERANCE = 0.1
"""The share of a curve's range within which it counts as settled."""


def turning_points(
    table: pd.DataFrame,
    measure: str = "excess",
    *,
    k: K | None = None,
    norm: int = 2,
    tolerance: float = TOLERANCE,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Where each model's curve rises most steeply, peaks and settles.

    ``steepest_rise`` is the middle (on the axis x) of the two neighboring checkpoints between which the curve's slope
    :math:`\Delta y / \Delta x` is largest. ``peak`` is the checkpoint of the largest value. ``plateau`` is the first
    checkpoint from which on the curve stays within ``tolerance`` times its range of its last value.

    The uncertainty is that of a bootstrap over seeds and prompts: both are drawn with replacement, independently of
    each other; the same draw serves all checkpoints, because checkpoints share their prompts and, within a training
    run, their seed. ``_low`` and ``_high`` are the 2.5% and 97.5% quantiles of the resampled results. Three seeds give
    only ten different draws of seeds, so an interval over few seeds is itself uncertain.

    Args:
        table: of ``dynamics_table``, best with ``by_prompt=True``; without seeds or prompts nothing is resampled there.
        measure: a column of the table.
        k: the number of top singular vectors, or a share of the width such as "10%"; default: the table's largest.
        norm: p, 1 or 2.
        tolerance: see above.
        resamples: number of bootstrap draws.
        seed: seed of the draws.

    Returns:
        One row per model: ``model``, ``measure``, and for each point its step and interval, such as ``plateau``,
        ``plateau_low`` and ``plateau_high``; intervals are NaN where there are neither several seeds nor several
        prompts. Steps are NaN for a curve that never rises or contains NaN.

    Raises:
        CouplingError: if a column is missing, or the checkpoints of a model's seeds differ.

    Example:
        >>> import pandas as pd
        >>> steps = [0, 10, 100, 1000]
        >>> table = pd.DataFrame({"model": "a", "step": steps, "excess": [0.0, 0.0, 0.5, 0.5]})
        >>> row = turning_points(table).iloc[0]
        >>> round(row.steepest_rise), int(row.plateau)
        (32, 100)
    """
    missing = [name for name in ("model", "step", measure) if name not in table]
    if missing:
        raise CouplingError(f"the table of dynamics lacks the column {', '.join(missing)}")
    chosen = at_k_and_norm(table, k, norm)
    rows = []
    for model, of_model in chosen.groupby("model", sort=False):
        steps, values = _cube(of_model, measure, str(model))
        found = _points(steps, values.mean(axis=(0, 1)), tolerance)
        row: dict[str, Any] = {"model": model, "measure": measure}
        draws = _resampled(steps, values, tolerance, resamples, seed)
        for index, name in enumerate(POINTS):
            low, high = (np.nan, np.nan) if draws is None else _interval(draws[:, index])
            row |= {name: found[index], f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def at_k_and_norm(table: pd.DataFrame, k: K | None = None, norm: int | None = 2) -> pd.DataFrame:
    """The rows of one K and p; a table without these columns is at one K and p already.

    Raises:
        CouplingError: if the table has no rows of this K or p.
    """
    if "k" in table:
        table, _ = rows_at_k(table, k)
    if "norm" in table and norm is not None:
        if norm not in set(table["norm"]):
            raise CouplingError(
                f"the table has no rows with norm = {norm}, but with {sorted(set(table['norm'].tolist()))}"
            )
        table = table[table["norm"] == norm]
    return table


def _cube(
    rows: pd.DataFrame, measure: str, model: str
) -> tuple[Int[np.ndarray, "steps"], Float[np.ndarray, "seeds prompts steps"]]:
    """A model's steps, and its values by seed, prompt and step."""
    rows = rows.assign(seed=rows.get("seed", 0), prompt=rows.get("prompt", 0))
    wide = rows.pivot_table(index=["seed", "prompt"], columns="step", values=measure, sort=True, dropna=False)
    wide = wide.reindex(pd.MultiIndex.from_product(wide.index.levels))
    if len(rows) != wide.size:
        raise CouplingError(
            f"the seeds of {model} have different checkpoints or prompts, or several rows of the same; turning points "
            "need the same steps and prompts for each"
        )
    shape = (len(wide.index.levels[0]), len(wide.index.levels[1]), wide.shape[1])
    return wide.columns.to_numpy(), wide.to_numpy(dtype=float).reshape(shape)


def _resampled(
    steps: Int[np.ndarray, "steps"],
    values: Float[np.ndarray, "seeds prompts steps"],
    tolerance: float,
    resamples: int,
    seed: int,
) -> Float[np.ndarray, "resamples points"] | None:
    """The points of resampled curves; None where there is nothing to resample."""
    n_seeds, n_prompts, _ = values.shape
    if n_seeds * n_prompts == 1:
        return None
    generator = np.random.default_rng(seed)
    draws = np.empty((resamples, len(POINTS)))
    for index in range(resamples):
        seeds = generator.integers(n_seeds, size=n_seeds)
        prompts = generator.integers(n_prompts, size=n_prompts)
        draws[index] = _points(steps, values[seeds][:, prompts].mean(axis=(0, 1)), tolerance)
    return draws


def _points(
    steps: Int[np.ndarray, "steps"], curve: Float[np.ndarray, "steps"], tolerance: float
) -> tuple[float, float, float]:
    """Steepest rise, peak and plateau of one curve, as steps."""
    if len(steps) < 2 or not np.isfinite(curve).all():
        return np.nan, np.nan, np.nan
    x = np.log1p(steps)
    slopes = np.diff(curve) / np.diff(x)
    steepest = int(slopes.argmax())
    middle = float(np.expm1((x[steepest] + x[steepest + 1]) / 2)) if slopes[steepest] > 0 else np.nan
    is_far = np.abs(curve - curve[-1]) > tolerance * (curve.max() - curve.min())
    settled = int(np.flatnonzero(is_far)[-1]) + 1 if is_far.any() else 0
    return middle, float(steps[int(curve.argmax())]), float(steps[settled])


def _interval(draws: Float[np.ndarray, "resamples"]) -> tuple[float, float]:
    """The middle 95% of the draws that are numbers."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
