"""What a run says of the baselines, and that reading it needs no PyTorch."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from coupling.baseline_means import baseline_means


def test_means_are_over_prompts_and_blocks():
    run = xr.Dataset(
        {
            "loss": ("prompt", [1.0, 3.0]),
            "effective_rank": (("prompt", "block"), [[2.0, 4.0], [6.0, np.nan]]),
            "singular_values": (("prompt", "block", "rank"), np.array([[[3.0, 1.0]] * 2, [[5.0, 1.0]] * 2])),
        },
        attrs={"baselines": 1, "spectral_exponent": 2.5},
    )
    means = baseline_means(run)
    assert means["held-out loss"] == pytest.approx(2)
    assert means["effective rank"] == pytest.approx(4)
    assert means["spectral norm"] == pytest.approx(4)
    assert 2.5 in means.values()
    assert baseline_means(run.drop_attrs()) == {}


@pytest.mark.parametrize("module", ["baseline_means", "analyses.correlation.correlate", "analyses.dynamics.table"])
def test_what_reads_runs_imports_no_torch(module):
    program = f"import sys, coupling.{module}; print(sorted({{'torch', 'transformers'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
