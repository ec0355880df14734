"""The mismatch of all pairs from full SVDs, against the formula."""

import numpy as np
import torch

from benchmarks.full_svd import mismatch_of_pairs, with_full_svd


def test_the_mismatch_of_all_pairs():
    matrices = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = mismatch_of_pairs([with_full_svd(matrix, 3) for matrix in matrices])
    (ua, sa, va), (ub, _, vb) = (np.linalg.svd(matrix.numpy()) for matrix in matrices)
    projection = ub[:, :3].T @ (ua * sa @ va) @ vb[:3].T
    expected = np.linalg.norm(np.abs(projection) - np.diag(sa[:3])) / np.linalg.norm(sa[:3])
    assert np.isclose(found[0, 1], expected)
    assert np.allclose(np.diag(found), 0, atol=1e-12)
