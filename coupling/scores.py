"""A run's score, the score that chance gives, and how far the one lies above the other."""

from typing import Any, overload

import numpy as np
import xarray as xr
from jaxtyping import Float

from coupling import metrics
from coupling.choices import variant_of
from coupling.dataset import per_prompt
from coupling.shares import K, find_k
from coupling.sinks import without_first


def score(run: xr.Dataset, k: K | None = None, norm: int = 2, *, signed: bool = False, swapped: bool = False) -> float:
    """A model's score: coupling averaged over ordered pairs of distinct blocks, then over prompts.

    Of a run that compares tokens, pairs of tokens; a first token that dominates (an attention sink) is left out, as in
    ``summarize``.

    Args:
        run: a Dataset of ``measure`` or ``analyze``.
        k: number of top singular vectors, or a share of the width such as "10%"; one that the run was measured at.
            Default: its largest.
        norm: p, 1 or 2.
        signed: without the absolute value.
        swapped: the swapped variant.

    Returns:
        At most 1; no unit.

    Raises:
        CouplingError: if the run has no such k or norm.

    Example:
        >>> import coupling
        >>> run = coupling.analyze(prompts=["import os"], k=(3, 5))
        >>> coupling.score(run) == coupling.score(run, k=5)
        True
    """
    return 1 - mean_mismatch(without_first(run), variant_of(signed=signed, swapped=swapped).variable(), k, norm)


def chance_score(run: xr.Dataset, k: K | None = None, norm: int = 2, *, signed: bool = False) -> float:
    """The score that random frames would get; arguments and errors as in ``score``."""
    return 1 - mean_mismatch(without_first(run), variant_of(signed=signed).variable("chance"), k, norm)


@overload
def excess(
    run: xr.Dataset, k: K | None = None, norm: int = 2, *, signed: bool = False, swapped: bool = False
) -> float: ...
@overload
def excess(run: float | Float[np.ndarray, "*a"], k: float | Float[np.ndarray, "*a"]) -> Float[np.ndarray, "*a"]: ...
def excess(run: Any, k: Any = None, norm: int = 2, *, signed: bool = False, swapped: bool = False) -> Any:
    r"""How far a run's coupling lies above chance: the share of the chance level's mismatch that is gone.

    .. math:: e = \frac{m_{chance} - m}{m_{chance}}

    with the mismatch m and its chance level, each averaged over ordered pairs of distinct blocks, then over prompts.
    ``coupling.uncertainty.excess_estimate`` gives its standard error as well.

    Args:
        run: a Dataset of ``measure`` or ``analyze``; or a mismatch, with its chance level (of the same or a
            broadcastable shape) as the second argument.
        k: number of top singular vectors, or a share of the width such as "10%"; one that the run was measured at.
            Default: its largest.
        norm: p, 1 or 2.
        signed: without the absolute value.
        swapped: the swapped variant.

    Returns:
        0 at chance, 1 where the frames are shared exactly, negative below chance; no unit. NaN where chance is 0.

    Raises:
        CouplingError: if the run has no such k or norm.

    Example:
        >>> import coupling
        >>> run = coupling.analyze(prompts=["import os"], k=(3, 5))
        >>> 0 < coupling.excess(run, k=5) < 1
        True
        >>> float(coupling.excess(0.45, 0.9))
        0.5
    """
    if not isinstance(run, xr.Dataset):
        return metrics.excess(run, k)
    variant, run = variant_of(signed=signed, swapped=swapped), without_first(run)
    mismatch, chance = (mean_mismatch(run, name, k, norm) for name in (variant.variable(), variant.variable("chance")))
    return float(metrics.excess(mismatch, chance))


def mean_mismatch(run: xr.Dataset, variable: str, k: K | None, norm: int) -> float:
    """A variable of mismatches, averaged over pairs, then over prompts."""
    return float(per_prompt(run, variable).sel(k=find_k(run, k, norm), norm=norm).mean())
