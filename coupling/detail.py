"""Which prompts keep the large variables that only pictures need: projections and residual streams."""

import xarray as xr

from coupling.choices import DETAILS, Detail
from coupling.dataset import DETAIL_VARIABLES
from coupling.errors import CouplingError
from coupling.plan import Plan
from coupling.untrusted import quoted

AUTO_BYTES = 64 * 2**20
"""What a run keeps by default: the first prompts whose detail fits."""


def detail_bytes(plan: Plan, n_tokens: int, width: int) -> int:
    """The size of one prompt's detail in float32, in bytes, before compression.

    ``projection`` has K² numbers per pair of Jacobians, ``residual_stream`` (L + 1) d numbers per token.

    Args:
        plan: the tokens, blocks and K that are measured.
        n_tokens: n, the length of the prompt.
        width: d, the width of the residual stream.
    """
    if plan.kind == "depth":
        pairs = plan.n_blocks**2 * (n_tokens if plan.has_token_axis else 1)
    else:
        pairs = len(plan.pairs) * n_tokens**2
    return 4 * (pairs * plan.ks.largest**2 + n_tokens * (plan.n_blocks + 1) * width)


class DetailBudget:
    """Which prompts keep their detail: with "auto" the first ones that fit; a resumed run keeps the same ones."""

    def __init__(self, detail: Detail) -> None:
        if detail not in DETAILS:
            raise CouplingError(f"`detail` is {quoted(detail)}, but must be one of {', '.join(DETAILS)}")
        self.detail = detail
        self.left = {"auto": AUTO_BYTES, "none": -1}.get(detail, 2**62)

    def admits(self, size: int) -> bool:
        """Whether a prompt keeps its detail of ``size`` bytes; after the first that does not fit, no other does."""
        self.left = self.left - size if size <= self.left else -1
        return self.left >= 0

    def count(self, part: xr.Dataset) -> None:
        """Count a prompt that was measured earlier."""
        sizes = [part[name].nbytes for name in DETAIL_VARIABLES if name in part]
        self.left = self.left - sum(sizes) if sizes else -1
