r"""The spectral exponent of weights: how heavy the tail of their eigenvalues is.

The eigenvalues of :math:`W^T W / N` of each weight matrix W, (N, M) with N >= M, are fitted with a power law
:math:`p(x) \propto x^{-\alpha}` above the threshold that fits best (Clauset, Shalizi, Newman 2009), by the package
``powerlaw``. The exponent of a model is the mean over its matrices, as in Martin, Peng, Mahoney, *Predicting trends in
the quality of state-of-the-art neural networks without access to training or testing data*, Nature Communications 2021
(the package ``weightwatcher``).
"""

import warnings
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from coupling.errors import require
from coupling.numerics import exact_numerics

FEWEST_EIGENVALUES = 30
"""Matrices with fewer eigenvalues are left out: their tails cannot be told from noise."""
LARGEST = 20
"""The largest exponent that is fitted."""


def fitted_exponent(eigenvalues: Float[np.ndarray, " n"]) -> float:
    """Alpha of a power law fitted to the largest eigenvalues.

    Args:
        eigenvalues: positive.

    Returns:
        Between 1 and 20; NaN where no power law can be fitted.

    Raises:
        CouplingError: if the package ``powerlaw`` is not installed.
    """
    require("powerlaw", purpose="the spectral exponent of weights")
    import powerlaw

    positive = eigenvalues[eigenvalues > 0]
    if len(positive) < FEWEST_EIGENVALUES:
        return float("nan")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        alpha = float(powerlaw.Fit(positive, verbose=False, parameter_ranges={"alpha": [1, LARGEST]}).power_law.alpha)
    return alpha if np.isfinite(alpha) else float("nan")


@exact_numerics()
def spectral_exponent(blocks: Iterable[nn.Module]) -> float:
    """The mean exponent of the weight matrices of a model's blocks.

    Args:
        blocks: the residual blocks; every parameter of two dimensions counts once.

    Returns:
        NaN where no matrix is large enough.

    Raises:
        CouplingError: if the package ``powerlaw`` is not installed.
    """
    require("powerlaw", purpose="the spectral exponent of weights")
    seen: set[int] = set()
    exponents = []
    for block in blocks:
        for weight in block.parameters():
            if weight.ndim != 2 or min(weight.shape) < FEWEST_EIGENVALUES or id(weight) in seen:
                continue
            seen.add(id(weight))
            values = torch.linalg.svdvals(weight.detach().cpu().double()).numpy()
            exponents.append(fitted_exponent(values**2 / max(weight.shape)))
    known = [value for value in exponents if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
