"""What P3O's trainer logs of an optimization step: means, sums and quantiles over all micro-batches and ranks."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coupling.rl.p3o import Metrics, ess_from_statistics, float64_device

QUANTILES = (0.05, 0.5, 0.95)
"""The levels of the logged quantiles of the policy ratio."""
LOGGED_MEANS = ("kl_behavior", "cap_fraction", "kl_from_behavior", "ratio_mean", "kl_mixture")
"""The metrics of the losses that are means over tokens, so that micro-batches and ranks can be averaged."""
ANCHORS = ("ess", "ess_proximal")
"""What the effective sample sizes are called of the ratios to the behavior policy and to the proximal policy."""


class _Part(NamedTuple):
    """One micro-batch on this rank: its means over tokens, its ratios, its tokens that are not finite, its sums."""

    means: Metrics
    ratios: Tensor
    nonfinite: float
    statistics: Tensor


class StepMetrics:
    """Collects the micro-batches of an optimization step.

    Args:
        accelerator: adds up over ranks.
    """

    def __init__(self, accelerator: Any) -> None:
        self.accelerator = accelerator
        self.parts: list[_Part] = []

    def add(
        self,
        metrics: Metrics,
        statistics: Float[Tensor, "anchor 3"],
        ratio: Float[Tensor, "batch token"],
        entropies: Tensor | None,
        mask: Tensor,
    ) -> None:
        """Add one micro-batch.

        Args:
            metrics: of ``p3o_loss`` or ``p3o_mixture_loss``.
            statistics: ``(sum r, sum r^2, n)`` of the ratios to each anchor, on this rank.
            ratio: the ratios to the behavior policy, in float64.
            entropies: of the next-token distributions, (batch, token), in nats.
            mask: (batch, token); nonzero where a token counts.
        """
        counted = mask.bool()
        ratios = ratio[counted.to(ratio.device)]
        means = {f"p3o/{name}": metrics[name] for name in LOGGED_MEANS if name in metrics}
        if entropies is not None:
            means["entropy"] = float(entropies.detach()[counted].mean()) if len(ratios) else 0.0
        self.parts.append(_Part(means, ratios, metrics["nonfinite"], statistics))

    def finish(self) -> Metrics:
        """The metrics of the whole step, all micro-batches and all ranks; then nothing is collected any more.

        ``p3o/ess`` is the effective sample size of the whole batch, and ``p3o/ess_micro`` the mean over micro-batches
        of each one's own, whichever of the two the loss uses.
        """
        logged = self._sample_sizes() | self._means()
        ratios = self._gather_ratios(torch.cat([part.ratios for part in self.parts]))
        self.parts = []
        if len(ratios):
            logged["p3o/ratio_max"] = float(ratios.max())
            # NumPy's quantile, because PyTorch's does not accept more than 2^24 numbers
            quantiles = np.quantile(ratios.cpu().numpy(), QUANTILES)
            for level, value in zip(QUANTILES, quantiles.tolist(), strict=True):
                logged[f"p3o/ratio_q{round(100 * level):02d}"] = value
        return logged

    def _sample_sizes(self) -> Metrics:
        statistics = torch.stack([part.statistics for part in self.parts])
        total: Any = self.accelerator.reduce(statistics, reduction="sum")  # (micro-batch, anchor, 3)
        logged: Metrics = {}
        for index, name in enumerate(ANCHORS[: total.shape[1]]):
            of_anchor = total[:, index]
            logged[f"p3o/{name}"] = ess_from_statistics(of_anchor.sum(dim=0))
            logged[f"p3o/{name}_micro"] = float(np.mean([ess_from_statistics(row) for row in of_anchor]))
        return logged

    def _means(self) -> Metrics:
        device = float64_device(self.accelerator.device)
        # The mean over all tokens is sum n mean / sum n, over micro-batches and ranks with n tokens each.
        weighted = [
            torch.tensor(
                [*(len(part.ratios) * mean for mean in part.means.values()), len(part.ratios), part.nonfinite],
                dtype=torch.float64,
                device=device,
            )
            for part in self.parts
        ]
        total: Any = self.accelerator.reduce(torch.stack(weighted).sum(dim=0), reduction="sum")
        means = (total[:-2] / total[-2].clamp(min=1)).tolist()
        return dict(zip(self.parts[0].means, means, strict=True)) | {"p3o/nonfinite": float(total[-1])}

    def _gather_ratios(self, ratios: Float[Tensor, " n"]) -> Float[Tensor, " total"]:
        """The ratios of all ranks; quantiles of a whole cannot be computed from those of its parts."""
        device = float64_device(self.accelerator.device)
        # Ranks have different numbers of tokens, and gather needs equal lengths: fill up with NaN, then remove it.
        lengths: Any = self.accelerator.gather(torch.tensor([len(ratios)], device=device))
        padded = torch.full((int(lengths.max()),), torch.nan, dtype=torch.float64, device=device)
        padded[: len(ratios)] = ratios
        gathered: Any = self.accelerator.gather(padded)
        return gathered[~gathered.isnan()]
