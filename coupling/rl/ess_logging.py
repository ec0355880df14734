"""Mix-ins for TRL's trainers: log the effective sample size under any loss, and take ratios to the sampling policy."""

import warnings
from typing import Any

import torch
from torch import Tensor

from coupling.rl.p3o import ess_from_statistics, finite_tokens, p3o_loss, policy_ratio, ratio_statistics
from coupling.rl.rollouts import behavior_logprobs, counted_mask
from coupling.rl.truncation import truncation, unseen_warning


class EssLogging:
    """Mix-in for ``trl.GRPOTrainer``: logs the effective sample size of the ratios under any of TRL's losses.

    Use it as ``class MyTrainer(EssLogging, GRPOTrainer): ...``. Training is bit for bit what it is without it, and
    there is no additional forward pass. It works for every loss of ``GRPOTrainer``: grpo, dapo, cispo and so on, and
    GSPO (``importance_sampling_level="sequence"``), for which the ratios here still are those of tokens.

    Logs ``ess/batch``, the effective sample size over the tokens of the whole step (all micro-batches and all ranks);
    ``ess/micro``, the mean over micro-batches of each one's own (all ranks); ``ess/kl_behavior``, the mean of k3 to the
    policy that sampled, in nats per token; and ``ess/nonfinite``, how many tokens were left out because a
    log-probability of them is not finite. Ratios are to the log-probabilities that the sampling engine returned; if it
    returned none, to those of the policy when it generated. They are computed with dropout, as TRL's loss is. Where
    sampling is truncated and the sampler gives no log-probabilities, ratios cannot show it: this is warned of once, and
    ``ess/truncation_unseen`` is logged as 1.

    Example:
        >>> from trl import GRPOTrainer
        >>> class MyTrainer(EssLogging, GRPOTrainer): ...
    """

    _parts: list[Tensor] | None = None
    _warned = False

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's; the log-probabilities are kept, so that the statistics need no forward pass of their own."""
        result = super()._get_per_token_logps_and_entropies(*args, **kwargs)  # type: ignore[misc]
        self._logprobs = result[0].detach()
        return result

    @torch.no_grad()
    def _statistics(self, inputs: dict[str, Any]) -> Tensor:
        """``(sum r, sum r^2, n, sum kl, n not finite)`` of one micro-batch on this rank."""
        given, behavior = counted_mask(inputs), behavior_logprobs(inputs, self._logprobs)
        mask = finite_tokens(given, self._logprobs, behavior)
        statistics = ratio_statistics(policy_ratio(self._logprobs, behavior, mask), mask)
        _, metrics = p3o_loss(self._logprobs, behavior, inputs["advantages"], given)
        kl_sum = metrics["kl_behavior"] * float(statistics[2])  # sum kl = n * mean kl
        return torch.cat([statistics, statistics.new_tensor([kl_sum, metrics["nonfinite"]])])

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """TRL's loss; after the last micro-batch of a step, its statistics go into TRL's next log."""
        loss = super()._compute_loss(model, inputs)  # type: ignore[misc]
        self._parts = [*(self._parts or []), self._statistics(inputs)]
        train = self.model.training  # type: ignore[attr-defined]
        if self.accelerator.sync_gradients or not train:  # type: ignore[attr-defined]
            parts = self.accelerator.reduce(torch.stack(self._parts), reduction="sum")  # type: ignore[attr-defined]
            self._parts = None
            total, log = parts.sum(dim=0), self._metrics["train" if train else "eval"]  # type: ignore[attr-defined]
            log["ess/batch"].append(ess_from_statistics(total[:3]))
            log["ess/micro"].append(sum(ess_from_statistics(part[:3]) for part in parts) / len(parts))
            log["ess/kl_behavior"].append(float(total[3] / total[2].clamp(min=1)))  # sum kl / n
            log["ess/nonfinite"].append(float(total[4]))
            self._note_truncation(inputs, log)
        return loss

    def _note_truncation(self, inputs: dict[str, Any], log: Any) -> None:
        """Log and warn of once that sampling was truncated in a way that the ratios do not show, if it was."""
        changed = truncation(self.args)  # type: ignore[attr-defined]
        if not changed or inputs.get("sampling_per_token_logps") is not None:
            return
        log["ess/truncation_unseen"].append(1.0)
        if not self._warned:
            self._warned = True
            warnings.warn(unseen_warning(changed), stacklevel=2)


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
