"""Mix-ins for TRL's trainers: log the effective sample size under any loss, and take ratios to the sampling policy."""

from typing import Any

import torch
from torch import Tensor

from coupling.rl.p3o import ess_from_statistics, finite_tokens, p3o_loss, policy_ratio, ratio_statistics
from coupling.rl.trainer import behavior_logprobs, counted_mask


class RatioStatistics:
    """Mix-in for TRL's GRPO trainers: logs ``p3o/ess`` and ``p3o/kl_behavior``, which P3O would use; the loss is TRL's.

    ``p3o/nonfinite`` says how many tokens were left out of both. Like those of ``P3OTrainer``, they are over the tokens
    of the whole step, all micro-batches and all ranks; the KL is in nats per token. Use it as
    ``class LoggingTrainer(RatioStatistics, GRPOTrainer): ...``.
    """

    _sums: Tensor | None = None

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's; the log-probabilities are kept, so that the statistics need no forward pass of their own."""
        result = super()._get_per_token_logps_and_entropies(*args, **kwargs)  # type: ignore[misc]
        self._logprobs = result[0].detach()
        return result

    @torch.no_grad()
    def _add_statistics(self, inputs: dict[str, Any]) -> None:
        """Add one micro-batch to ``(sum r, sum r^2, n, sum kl, n not finite)`` of the step."""
        given, behavior = counted_mask(inputs), behavior_logprobs(inputs, self._logprobs)
        mask = finite_tokens(given, self._logprobs, behavior)
        statistics = ratio_statistics(policy_ratio(self._logprobs, behavior, mask), mask)
        _, metrics = p3o_loss(self._logprobs, behavior, inputs["advantages"], given)
        kl_sum = metrics["kl_behavior"] * float(statistics[2])  # sum kl = n * mean kl
        sums = torch.cat([statistics, statistics.new_tensor([kl_sum, metrics["nonfinite"]])])
        self._sums = sums if self._sums is None else self._sums + sums

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """TRL's loss; after the last micro-batch of a step, its statistics go into TRL's next log."""
        loss = super()._compute_loss(model, inputs)  # type: ignore[misc]
        self._add_statistics(inputs)
        train = self.model.training  # type: ignore[attr-defined]
        if self.accelerator.sync_gradients or not train:  # type: ignore[attr-defined]
            total = self.accelerator.reduce(self._sums, reduction="sum")  # type: ignore[attr-defined]
            self._sums = None
            log = self._metrics["train" if train else "eval"]  # type: ignore[attr-defined]
            log["p3o/ess"].append(ess_from_statistics(total[:3]))
            log["p3o/kl_behavior"].append(float(total[3] / total[2].clamp(min=1)))  # sum kl / n
            log["p3o/nonfinite"].append(float(total[4]))
        return loss


class RatioToBehavior:
    """Mix-in for TRL's GRPO trainers: ratios are to the sampling policy, if the rollouts contain its log-probabilities.

    Without it, TRL's loss treats the rollouts of a ``rollout_func`` as the policy's own, however old they are.
    """

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """TRL's loss with the sampling policy's log-probabilities as the old ones."""
        sampled = inputs.get("sampling_per_token_logps")
        if sampled is not None:
            inputs = inputs | {"old_per_token_logps": sampled}
        return super()._compute_loss(model, inputs)  # type: ignore[misc]
