"""The spectral exponent of weights, on matrices whose eigenvalues follow a known power law."""

import numpy as np
import pytest
import torch
from torch import nn

from coupling.spectral_exponent import FEWEST_EIGENVALUES, fitted_exponent, spectral_exponent


@pytest.mark.parametrize("alpha", [2.0, 3.5])
def test_a_power_law_is_found(alpha):
    uniform = (np.arange(400) + 0.5) / 400
    values = (1 - uniform) ** (-1 / (alpha - 1))  # the quantiles of p(x) = (alpha - 1) x^-alpha above 1
    assert fitted_exponent(values) == pytest.approx(alpha, rel=0.1)


def test_matrices_of_the_blocks_count_once_each():
    torch.manual_seed(0)
    wide, narrow = nn.Linear(40, 60), nn.Linear(40, FEWEST_EIGENVALUES - 1)
    block = nn.Sequential(wide, narrow, nn.LayerNorm(40))
    values = torch.linalg.svdvals(wide.weight.detach().double()).numpy() ** 2 / 60
    assert spectral_exponent([block]) == pytest.approx(fitted_exponent(values))
    assert spectral_exponent([block, nn.Sequential(wide)]) == spectral_exponent([block])
    assert np.isnan(spectral_exponent([nn.Sequential(narrow)]))


def test_too_few_eigenvalues_have_no_exponent():
    assert np.isnan(fitted_exponent(np.arange(1.0, FEWEST_EIGENVALUES)))
