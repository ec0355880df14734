"""What a run says of the baselines that coupling is compared with; reading them needs no PyTorch.

``coupling.baselines`` measures them.
"""

import xarray as xr

from coupling.choices import BASELINES

ATTRIBUTE = "baselines"
"""The attribute of a run that has them: 1."""


def baseline_means(run: xr.Dataset) -> dict[str, float]:
    """The mean of each baseline that a run has, over blocks or layers and over prompts, by its label.

    Args:
        run: a Dataset of ``analyze``.

    Returns:
        Empty for a run that was measured without them.
    """
    if not run.attrs.get(ATTRIBUTE):
        return {}
    found: dict[str, float] = {}
    for baseline in BASELINES:
        if baseline.name == "spectral_norm":
            found[baseline.label] = float(run.singular_values.isel(rank=0).mean())
        elif baseline.name in run:
            found[baseline.label] = float(run[baseline.name].mean())
        elif baseline.name in run.attrs:
            found[baseline.label] = float(run.attrs[baseline.name])
    return found
