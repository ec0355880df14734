"""Mix-ins for TRL's trainers: log the effective sample size under any loss, and take ratios to the sampling policy."""

from typing import Any

import torch
from torch import Tensor

from coupling.rl.p3o import p3o_loss, policy_ratio, ratio_statistics, sample_size
from coupling.rl.trainer import behavior_logprobs, counted_mask


class RatioStatistics:
    """Mix-in for TRL's GRPO trainers: logs the effective sample size and KL that P3O would see; the loss is TRL's.

    As P3O's own, both are over the tokens of the whole step, all micro-batches and all ranks.
    """

    _sums: Tensor | None = None

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        result = super()._get_per_token_logps_and_entropies(*args, **kwargs)  # type: ignore[misc]
        self._logprobs = result[0].detach()
        return result

    @torch.no_grad()
    def _measure(self, inputs: dict[str, Any]) -> None:
        mask, behavior = counted_mask(inputs), behavior_logprobs(inputs, self._logprobs)
        statistics = ratio_statistics(policy_ratio(self._logprobs, behavior, mask), mask)
        _, metrics = p3o_loss(self._logprobs, behavior, inputs["advantages"], mask)
        kl = statistics.new_tensor([metrics["kl_behavior"] * float(statistics[2])])
        sums = torch.cat([statistics, kl])
        self._sums = sums if self._sums is None else self._sums + sums

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss = super()._compute_loss(model, inputs)  # type: ignore[misc]
        self._measure(inputs)
        train = self.model.training  # type: ignore[attr-defined]
        if self.accelerator.sync_gradients or not train:  # type: ignore[attr-defined]
            total = self.accelerator.reduce(self._sums, reduction="sum")  # type: ignore[attr-defined]
            self._sums = None
            log = self._metrics["train" if train else "eval"]  # type: ignore[attr-defined]
            log["p3o/ess"].append(sample_size(total[:3]))
            log["p3o/kl_behavior"].append(float(total[3] / total[2].clamp(min=1)))
        return loss


class RatioToBehavior:
    """Mix-in for TRL's GRPO trainers: ratios to the policy that sampled, where the rollouts say how it scored them.

    TRL's own loss takes rollouts of a ``rollout_func`` to be the policy's own, at whatever age.
    """

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        sampled = inputs.get("sampling_per_token_logps")
        if sampled is not None:
            inputs = inputs | {"old_per_token_logps": sampled}
        return super()._compute_loss(model, inputs)  # type: ignore[misc]
