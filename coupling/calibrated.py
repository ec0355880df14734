"""The calibrated measures of a run: means over pairs and prompts, chance levels and z-scores."""

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr

from coupling import alignment
from coupling.choices import CALIBRATED, CHANCE, SD, Calibrated
from coupling.dataset import off_diagonal, per_prompt
from coupling.errors import CouplingError
from coupling.shares import K, find_k
from coupling.sinks import without_first

FROM_ANGLES = {"left_overlap": "left_angle", "right_overlap": "right_angle"}
"""Measures that runs of earlier versions contain as principal angles."""


POOLED, WHOLE = "diagonal_share", "aligned_energy"
"""The measure that is a share of another, so that pairs and prompts are pooled by the other; and that other."""


@dataclass(frozen=True)
class CalibratedScore:
    """One calibrated measure of a run.

    Attributes:
        value: the mean over ordered pairs of distinct Jacobians, then over prompts; of the diagonal share, the share of
            all pairs and prompts together.
        chance: the mean of its chance level.
        z: the mean of ``(value - chance) / sd``, where sd is the standard deviation that one pair of random frames
            has around its chance level. 0 is chance.
    """

    value: float
    chance: float
    z: float


def calibrated_score(run: xr.Dataset, measure: str = CALIBRATED[0].name, k: K | None = None) -> CalibratedScore:
    """A calibrated measure of a run, with its chance level and its z-score.

    Args:
        run: a Dataset of ``measure`` or ``analyze``.
        measure: "diagonal_share", "aligned_energy", "signed_diagonal", "absolute_diagonal", "left_overlap" or
            "right_overlap".
        k: number of top singular vectors, or a share of the width such as "10%"; one that the run was measured at.
            Default: its largest.

    Raises:
        CouplingError: if there is no such measure, or the run has no such K; if the run was saved by a version that did
            not measure it.

    Example:
        >>> import coupling
        >>> run = coupling.analyze(prompts=["import os"], k=5)
        >>> found = coupling.calibrated_score(run, "diagonal_share")
        >>> round(found.chance, 6), found.value > found.chance  # 1 / K
        (0.2, True)
    """
    names = [known.name for known in CALIBRATED]
    if measure not in names:
        raise CouplingError(f"`measure` is {measure!r}, but must be one of {', '.join(names)}")
    if measure not in [known.name for known in measures_in(run)]:
        raise CouplingError(f"the run does not contain the {measure}: an earlier version measured it; measure it again")
    number, run = find_k(run, k), without_first(run)
    found = [float(part.sel(k=number).mean()) for part in means(run, measure)]
    return CalibratedScore(*found)


def measures_in(run: xr.Dataset) -> list[Calibrated]:
    """The calibrated measures that a run contains; runs of earlier versions contain overlaps alone, as angles."""
    return [measure for measure in CALIBRATED if measure.name in run or FROM_ANGLES.get(measure.name) in run]


def means(run: xr.Dataset, measure: str) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """A measure's value, chance level and z-score for every prompt and K: means over pairs.

    The diagonal share is that of all pairs and prompts together: what lies on their diagonals, as a share of what they
    capture, each relative to ``||S_a||_F^2``. Its chance level is 1 / K, too. Its values for single prompts are
    linearized, so that their mean is that share, and their spread that of an estimated quotient.

    Args:
        run: a run that contains the measure (``measures_in``).
        measure: its name.
    """
    values, chance, sd = over_pairs(run, measure)
    chance = chance.where(np.isfinite(values))
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        # at K = 1 the diagonal share, and at K = d the overlap, is 1 whatever the frames
        z = xr.where(sd == 0, 0.0, (values - chance) / sd).where(np.isfinite(values))
        value = per_prompt(run, values)
        if measure == POOLED:  # a pair that captures nothing has no share
            whole = off_diagonal(run, WHOLE)
            value = _pooled(per_prompt(run, values * whole), per_prompt(run, whole))
        return value, per_prompt(run, chance), per_prompt(run, z)


def _pooled(part: xr.DataArray, whole: xr.DataArray) -> xr.DataArray:
    """A quotient of means over prompts, linearized in each prompt: ``R + (part - R whole) / mean(whole)``."""
    quotient = part.mean("prompt") / whole.mean("prompt")
    return quotient + (part - quotient * whole) / whole.mean("prompt")


def over_pairs(run: xr.Dataset, measure: str) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """A measure over pairs, NaN where a Jacobian is compared with itself; its chance level, and its deviation there."""
    if measure in run:
        return off_diagonal(run, measure), run[measure + CHANCE], run[measure + SD]
    squared_cosines: xr.DataArray = xr.apply_ufunc(np.cos, run[FROM_ANGLES[measure]]) ** 2
    d = int(run.attrs["width"]) if "width" in run.attrs else None
    nulls = [alignment.chance_overlap(d, k) if d else alignment.Null(np.nan, np.nan) for k in run.k.values.tolist()]
    chance, sd = (xr.DataArray([getattr(null, part) for null in nulls], {"k": run.k}) for part in ("mean", "sd"))
    return off_diagonal(run, squared_cosines.mean("rank")), chance, sd
