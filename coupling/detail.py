"""What a run keeps beyond its metrics, because pictures need it: projections and residual streams."""

from typing import Literal

import xarray as xr

from coupling.settings import Plan, Settings
from coupling.trajectory import Recording

Detail = Literal["auto", "all", "none"]
VARIABLES = ("projection", "residual_stream")
AUTO_BYTES = 64 * 2**20
"""How much of it a run keeps by default; the first prompts whose detail fits."""


def detail_bytes(settings: Settings, plan: Plan, recording: Recording) -> int:
    """What the detail of one prompt takes, in float32, before compression.

    ``projection`` has K² numbers a pair of Jacobians, ``residual_stream`` (L + 1) d numbers a token.
    """
    n, depth = recording.n_tokens, recording.n_blocks
    pairs = depth**2 * (n if plan.several else 1) if settings.kind == "depth" else len(plan.pairs) * n**2
    return 4 * (pairs * settings.k[-1] ** 2 + n * (depth + 1) * recording.width)


class DetailBudget:
    """Which prompts keep their detail: with "auto" the first ones, while they fit; the same ones when resumed."""

    def __init__(self, detail: Detail) -> None:
        self.detail = detail
        self.left = {"auto": AUTO_BYTES, "none": -1}.get(detail, 2**62)

    def admits(self, size: int) -> bool:
        """Whether a prompt whose detail takes so many bytes keeps it; counts it if so, closes the budget if not."""
        self.left = self.left - size if size <= self.left else -1
        return self.left >= 0

    def count(self, part: xr.Dataset) -> None:
        """A prompt that was measured earlier."""
        held = [part[name].nbytes for name in VARIABLES if name in part]
        self.left = self.left - sum(held) if held else -1
