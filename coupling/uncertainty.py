"""How precisely the excess over chance is known: its standard error over prompts, of one run and between two."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from coupling.choices import Variant, variant_of
from coupling.dataset import per_prompt
from coupling.metrics import excess
from coupling.shares import K, find_k


@dataclass(frozen=True)
class Estimate:
    """A number with the standard error that comes from the choice of prompts.

    Attributes:
        value: the number.
        standard_error: None where there is only one prompt.
    """

    value: float
    standard_error: float | None


def excess_estimate(run: xr.Dataset, k: K, norm: int = 2, variant: Variant | None = None) -> Estimate:
    r"""The excess of a run's score, with its standard error over prompts.

    .. math:: e = 1 - \frac{\sum_i m_i}{\sum_i c_i}, \qquad
        SE(e) = \frac{1}{\bar c} \sqrt{\frac{1}{n (n - 1)} \sum_i (m_i - (1 - e) c_i)^2}

    with the mismatch m and the chance level c of each of n prompts: the usual error of a ratio of means.

    Args:
        run: a Dataset of ``measure`` or ``analyze``.
        k: number of top singular vectors, or a share of the width such as "10%".
        norm: p, 1 or 2.
        variant: default: absolute.

    Raises:
        CouplingError: if the run has no such k or norm.

    Source:
        Cochran, *Sampling Techniques*, 3rd edition 1977, section 6.4.
    """
    value, residuals = _linearized(run, k, norm, variant_of() if variant is None else variant)
    return Estimate(value, _standard_error(residuals))


def excess_difference(
    first: xr.Dataset, second: xr.Dataset, k: K, norm: int = 2, variant: Variant | None = None
) -> Estimate:
    """The excess of the second run's score minus that of the first's, with its standard error.

    The error is that of the paired difference where both runs measured the same prompts, and that of two independent
    samples of prompts otherwise.

    Args:
        first: a Dataset of ``measure`` or ``analyze``.
        second: another.
        k: number of top singular vectors, or a share of the width such as "10%".
        norm: p, 1 or 2.
        variant: default: absolute.

    Raises:
        CouplingError: if one of the runs has no such k or norm.
    """
    variant = variant_of() if variant is None else variant
    (a, a_residuals), (b, b_residuals) = (_linearized(run, k, norm, variant) for run in (first, second))
    if are_paired(first, second):
        return Estimate(b - a, _standard_error(b_residuals - a_residuals))
    errors = [_standard_error(residuals) for residuals in (a_residuals, b_residuals)]
    return Estimate(b - a, None if None in errors else float(np.hypot(*errors)))  # type: ignore[arg-type]


def are_paired(first: xr.Dataset, second: xr.Dataset) -> bool:
    """Whether two runs measured the same prompts."""
    same = first.attrs.get("prompts_hash") == second.attrs.get("prompts_hash") is not None
    return bool(same) and first.sizes["prompt"] == second.sizes["prompt"]


def on_shared_prompts(first: xr.Dataset, second: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset] | None:
    """Two runs of different prompts, restricted to the prompts that both measured, in the order of the first.

    Args:
        first: a Dataset of ``measure`` or ``analyze``.
        second: another.

    Returns:
        Both runs, which are then paired (see ``are_paired``); None where they share fewer than two prompts, or where
        one of them measured a prompt twice.
    """
    if "prompt_text" not in first or "prompt_text" not in second:
        return None
    texts = [run.prompt_text.values.astype(str).tolist() for run in (first, second)]
    if any(len(set(each)) < len(each) for each in texts):
        return None
    shared = [text for text in texts[0] if text in set(texts[1])]
    if len(shared) < 2:
        return None
    name = first.attrs.get("prompts_hash", "")
    one, other = (
        run.isel(prompt=[each.index(text) for text in shared]).assign_attrs(prompts_hash=name)
        for run, each in zip((first, second), texts, strict=True)
    )
    return one, other


def _linearized(run: xr.Dataset, k: K, norm: int, variant: Variant) -> tuple[float, Float[np.ndarray, " prompt"]]:
    """The excess, and how much each prompt moves it away from the mean (times the number of prompts)."""
    k = find_k(run, k, norm)
    mismatch = per_prompt(run, variant.variable()).sel(k=k, norm=norm).values
    chance = per_prompt(run, variant.variable("chance")).sel(k=k, norm=norm).values
    value = float(excess(float(mismatch.mean()), float(chance.mean())))
    return value, -(mismatch - (1 - value) * chance) / chance.mean()


def _standard_error(residuals: Float[np.ndarray, " prompt"]) -> float | None:
    count = len(residuals)
    if count < 2:
        return None
    error = float(residuals.std(ddof=1) / np.sqrt(count))
    return error if np.isfinite(error) else None
